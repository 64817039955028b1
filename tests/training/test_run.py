import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from training_runs import POSTPROCESS, run

from ofa_det.arch.description import PostProcessConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.evaluations import ChosenSubnet
from ofa_det.artefacts.records import from_plain, read_yaml, write_record
from ofa_det.data.anchors import AnchorConfig, fit_space
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.draws import Draw, TrainingStream
from ofa_det.data.generated import CATEGORIES
from ofa_det.data.loading import DrawnImages
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation import torch_detector
from ofa_det.models.calibration import calibrated, calibration_batches
from ofa_det.models.run_folder import load_detector, load_supernet
from ofa_det.training.config import TrainConfig
from ofa_det.training.run import train
from ofa_det.training.schedule import PhaseConfig

NewConfig = Callable[..., TrainConfig]


def test_a_run_folder_is_complete(supernet: Path, tiny_space: SearchSpace, data: DataConfig) -> None:
    assert {path.name for path in supernet.iterdir() if not path.name.startswith("events.")} == {
        "config.yaml",
        "model.safetensors",
        "last.ckpt",
        "metrics.jsonl",
        "pictures",
    }
    records = [json.loads(line) for line in (supernet / "metrics.jsonl").read_text().splitlines()]
    assert [record["images"] for record in records if "AP_largest" in record and "AP_smallest" in record] == [8, 16]
    assert {path.name for path in (supernet / "pictures").iterdir()} == {"0000008.jpg", "0000016.jpg"}
    trained = load_supernet(supernet)
    description = trained.description
    assert description.categories == CATEGORIES
    assert description.postprocess == POSTPROCESS
    assert description.holdout_fraction == 0.3
    fitted_to = open_split(data, "fit")
    assert description.training_images == fitted_to.fingerprint()
    assert description.detector.space == fit_space(AnchorConfig(), fitted_to, tiny_space, seed=0)


def test_the_config_repeats_the_run(supernet: Path, tmp_path: Path) -> None:
    config = from_plain(TrainConfig, read_yaml(supernet / "config.yaml"), where="config.yaml")
    model = run(replace(config, output=str(tmp_path)))
    assert model.read_bytes() == (supernet / "model.safetensors").read_bytes()


def test_training_leaves_the_random_state_of_the_caller_alone(again: NewConfig, tmp_path: Path) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    run(again(tmp_path))
    assert torch.equal(torch.rand(1), wanted)


def test_a_subnet_of_the_supernet_is_fine_tuned(
    supernet: Path, tiny_space: SearchSpace, new_config: NewConfig, data: DataConfig, tmp_path: Path
) -> None:
    subnet = tiny_space.largest(64)
    write_record(tmp_path / "subnet.json", ChosenSubnet(subnet=subnet, ap=0.5))
    config = new_config(
        tmp_path / "det",
        data=data,
        supernet=str(supernet),
        subnet=str(tmp_path / "subnet.json"),
        num_images=4,
        learning_rate=1e-9,
    )
    run(config)
    trained, parent = load_detector(tmp_path / "det"), load_supernet(supernet)
    # The weights are the supernet's, moved by next to nothing; all training images are used.
    weights, cut = dict(trained.network.named_parameters()), dict(parent.network.extract(subnet).named_parameters())
    for name, value in weights.items():
        torch.testing.assert_close(value, cut[name], rtol=0, atol=1e-6)
    assert trained.description == replace(
        parent.description,
        subnet=subnet,
        holdout_fraction=0.0,
        training_images=open_split(data, "train").fingerprint(),
    )
    assert not {"space", "anchors", "postprocess"} & read_yaml(tmp_path / "det/config.yaml").keys()
    (scored,) = [line for line in (tmp_path / "det/metrics.jsonl").read_text().splitlines() if '"AP"' in line]
    assert "AP_largest" not in scored
    resumed = from_plain(TrainConfig, read_yaml(tmp_path / "det/config.yaml"), where="config.yaml")
    before = (tmp_path / "det/model.safetensors").read_bytes()
    assert run(replace(resumed, resume=True)).read_bytes() == before


def test_weights_to_start_from(
    supernet: Path, again: NewConfig, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.INFO):
        run(again(tmp_path, pretrained=str(supernet), num_images=4, learning_rate=1e-9))
    before, after = (dict(load_supernet(folder).network.named_parameters()) for folder in (supernet, tmp_path))
    for name, value in after.items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-6)
    assert sum("of the training boxes have an anchor" in message for message in caplog.messages) == 1
    (line,) = [message for message in caplog.messages if "layers from" in message]
    assert re.fullmatch(rf"took (\d+) of \1 layers from {supernet}", line)


def test_channels_that_have_an_order_are_not_sorted_again(
    supernet: Path, tiny_space: SearchSpace, again: NewConfig, tmp_path: Path
) -> None:
    one, sorting = tmp_path / "one", (PhaseConfig(num_images=4, sort_channels=True),)
    run(again(one, subnet=str(tiny_space.largest(96)), num_images=4))
    changes = {"phases": sorting, "num_images": 4, "anchors": AnchorConfig(source="ssd")}
    with pytest.raises(ValueError, match=rf"expected no sort_channels in schedule\.phases, since {supernet} is of"):
        train(again(tmp_path / "run", pretrained=str(supernet), **changes), progress=False)
    assert not (tmp_path / "run").exists()
    run(again(tmp_path / "run", pretrained=str(one), **changes))


def test_what_fabric_cannot_set_up_is_named(again: NewConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**options: object) -> None:
        raise MisconfigurationException("no such thing")

    monkeypatch.setattr("ofa_det.training.fabric.Fabric", refuse)
    found = "expected accelerator cpu, precision bf16-mixed and 1 rank that .* here, found: no such thing"
    with pytest.raises(ValueError, match=found):
        train(again(tmp_path, precision="bf16-mixed"), progress=False)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Draw]:
    """What the training draws."""
    draws: list[Draw] = []
    original = TrainingStream.draw

    def kept(stream: TrainingStream, number: int, **kwargs: Any) -> Draw:
        draws.append(original(stream, number, **kwargs))
        return draws[-1]

    monkeypatch.setattr(TrainingStream, "draw", kept)
    return draws


def test_a_detector_trains_at_several_resolutions_and_ships_at_its_own(
    tiny_space: SearchSpace, tiny_root: Path, new_config: NewConfig, drawn: list[Draw], tmp_path: Path
) -> None:
    subnet = tiny_space.smallest(96)
    run(new_config(tmp_path, subnet=str(subnet), resolutions=(64, 96), anchors=AnchorConfig(source="ssd")))
    assert {drawn[step * 4].resolution for step in range(4)} == {64, 96}
    trained = load_detector(tmp_path)
    assert trained.network.subnet == trained.description.subnet == subnet
    assert trained.network.subnets.resolutions == (96,)
    dataset = open_split(DataConfig(root=str(tiny_root)), "train")
    read = DrawnImages(augmentation=new_config(tmp_path).augmentation)
    images = calibration_batches(dataset, 96, num_images=4, read=read)
    calibrated_again = calibrated(trained.network, subnet, images).state_dict()
    assert all(torch.equal(value, calibrated_again[name]) for name, value in trained.network.state_dict().items())
    assert trained.description.detector.anchor_sizes == ssd_anchor_sizes()
    (scored,) = [line for line in (tmp_path / "metrics.jsonl").read_text().splitlines() if '"AP"' in line]
    assert json.loads(scored)["images"] == 16


def test_training_ends_on_images_without_mosaic(
    tiny_space: SearchSpace, new_config: NewConfig, drawn: list[Draw], tmp_path: Path
) -> None:
    mosaic = AugmentationConfig(mosaic=1.0)
    run(new_config(tmp_path, subnet=str(tiny_space.smallest()), augmentation=mosaic, closing_images=8))
    trained_on, calibrated_on = drawn[:16], drawn[16:]
    assert [draw.phase for draw in trained_on] == ["main"] * 8 + ["closing"] * 8
    assert [len(draw.indices) for draw in trained_on] == [4] * 8 + [1] * 8
    assert {(draw.phase, len(draw.indices)) for draw in calibrated_on} == {("closing", 1)}


def test_validation_suppresses_as_the_config_says(
    tiny_space: SearchSpace, new_config: NewConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[PostProcessConfig] = set()
    original = torch_detector.postprocess

    def kept(boxes: torch.Tensor, scores: torch.Tensor, config: PostProcessConfig) -> object:
        used.add(config)
        return original(boxes, scores, config)

    monkeypatch.setattr(torch_detector, "postprocess", kept)
    run(new_config(tmp_path, subnet=str(tiny_space.smallest()), postprocess=POSTPROCESS, num_images=4))
    assert used == {POSTPROCESS}


def test_the_seed_decides(tiny_space: SearchSpace, new_config: NewConfig, tmp_path: Path) -> None:
    def trained(name: str, seed: int) -> bytes:
        torch.manual_seed(ord(name))
        return run(new_config(tmp_path / name, subnet=str(tiny_space.smallest()), num_images=4, seed=seed)).read_bytes()

    assert trained("a", 0) == trained("b", 0) != trained("c", 1)


@pytest.fixture
def mistakes(supernet: Path, new_config: NewConfig, tiny_root: Path, tmp_path: Path) -> Iterator[Callable[..., str]]:
    def message(**changes: object) -> str:
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            train(new_config(tmp_path / "mistake", **changes), progress=False)
        return str(error.value)

    yield message
    assert not (tmp_path / "mistake/model.safetensors").exists()


def test_mistakes_are_named(
    mistakes: Callable[..., str], supernet: Path, tiny_space: SearchSpace, tiny_root: Path, tmp_path: Path
) -> None:
    assert "nowhere" in mistakes(data=DataConfig(root=str(tmp_path / "nowhere")))
    assert "found 'ssdlite_mbv9'" in mistakes(space="ssdlite_mbv9")
    assert "fit, ssd, scaled or a JSON file" in mistakes(anchors=AnchorConfig(source="sdd"))
    assert "found 'abacus'" in mistakes(accelerator="abacus")
    assert "'33-true'" in mistakes(precision="33-true")
    assert "found nothing at missing.json" in mistakes(subnet="missing.json")
    assert "found r64 k3e1 k3e3" in mistakes(subnet="r64 k3e1 k3e3")
    foreign = str(tiny_space.largest(64)).replace("k5e4", "k7e4")
    assert f"found {foreign}" in mistakes(supernet=str(supernet), subnet=foreign)
    assert "resolutions to be positive" in mistakes(subnet=str(tiny_space.largest(64)), resolutions=(96, 64))


def test_data_of_other_categories_than_the_supernets_is_refused(
    mistakes: Callable[..., str], supernet: Path, tiny_space: SearchSpace, tiny_root: Path, tmp_path: Path
) -> None:
    content = json.loads((tiny_root / "annotations/instances_train2017.json").read_text())
    content["categories"][0]["name"] = "disc"
    (tmp_path / "other.json").write_text(json.dumps(content))
    data = DataConfig(
        root=str(tiny_root),
        train_annotations=str(tmp_path / "other.json"),
        val_annotations=str(tmp_path / "other.json"),
        val_images="train2017",
    )
    found = mistakes(data=data, supernet=str(supernet), subnet=str(tiny_space.largest(64)))
    assert "'disc' for 2 'circle'" in found
