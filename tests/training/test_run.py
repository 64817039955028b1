import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from ofa_det.arch.description import PostProcessConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.configs import read_config
from ofa_det.artefacts.evaluations import ChosenSubnet
from ofa_det.artefacts.model_file import read_description
from ofa_det.artefacts.records import from_plain, read_yaml, to_yaml, write_record
from ofa_det.data.anchors import AnchorConfig, fit_space
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.draws import Draw, TrainingStream
from ofa_det.data.generated import CATEGORIES
from ofa_det.data.loading import DrawnImages
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation import torch_detector
from ofa_det.models.calibration import calibrated, calibration_batches
from ofa_det.models.run_folder import load_detector, load_supernet
from ofa_det.training import optimiser
from ofa_det.training.config import TrainConfig
from ofa_det.training.run import train
from ofa_det.training.schedule import PhaseConfig
from ofa_det.training.state import load_checkpoint, save_checkpoint

NewConfig = Callable[..., TrainConfig]
POSTPROCESS = PostProcessConfig(score_threshold=0.001, max_detections=7)


def run(config: TrainConfig) -> Path:
    result = train(config, progress=False)
    assert result.model_file == Path(config.output) / "model.safetensors"
    assert result.description == read_description(config.output)
    return result.model_file


@pytest.fixture(scope="module")
def data(tiny_root: Path) -> DataConfig:
    return DataConfig(root=str(tiny_root), holdout_fraction=0.3)


@pytest.fixture(scope="module")
def supernet(new_config: NewConfig, data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for four steps."""
    folder = tmp_path_factory.mktemp("runs") / "supernet"
    run(new_config(folder, data=data, validate_every=8, postprocess=POSTPROCESS))
    return folder


@pytest.fixture
def again(new_config: NewConfig, data: DataConfig) -> NewConfig:
    """The training of `supernet` with another output, and changes."""
    return lambda folder, **changes: new_config(
        folder, **{"data": data, "validate_every": 8, "postprocess": POSTPROCESS} | changes
    )


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


def interrupted_at(call: int, monkeypatch: pytest.MonkeyPatch, config: TrainConfig) -> None:
    """Trains until Ctrl-C in a step."""
    original, calls = optimiser.accumulate_gradients, iter(range(1, call + 1))

    def interrupted(*args: object, **kwargs: object) -> object:
        if next(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(optimiser, "accumulate_gradients", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, progress=False)


def test_an_interrupted_run_goes_on_to_the_same_weights(
    supernet: Path, again: NewConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_at(3, monkeypatch, again(tmp_path))
    assert not (tmp_path / "model.safetensors").exists()
    with pytest.raises(ValueError, match=r"found a training in .*; pass --resume"):
        train(again(tmp_path), progress=False)
    changed = again(tmp_path, resume=True, num_workers=1, checkpoint_every=8, validate_every=16)
    assert run(changed).read_bytes() == (supernet / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch_size": 2}, r"schedule\.batch_size 2 in .*config\.yaml, found 4"),
        ({"precision": "bf16-mixed"}, r"schedule\.precision 'bf16-mixed' in .*, found '32-true'"),
        ({"seed": 5}, "seed 5 in .*, found 0"),
        ({"space": "ssdlite_mbv3"}, "space 'ssdlite_mbv3'"),
        ({"anchors": AnchorConfig(source="ssd")}, r"anchors\.source 'ssd' in .*, found 'fit'"),
        ({"postprocess": PostProcessConfig()}, r"postprocess\.max_detections 100 in .*, found 7"),
        ({"augmentation": AugmentationConfig(mosaic=0.5)}, r"augmentation\.mosaic 0.5 in .*, found 0.0"),
    ],
)
def test_a_resumed_run_names_the_option_that_changed(
    supernet: Path, again: NewConfig, changes: dict[str, object], named: str
) -> None:
    before = (supernet / "config.yaml").read_bytes()
    with pytest.raises(ValueError, match=f"expected {named}.*; pass the options it began with, or another --output"):
        train(again(supernet, resume=True, **changes), progress=False)
    assert (supernet / "config.yaml").read_bytes() == before


def test_a_run_from_before_an_option_goes_on_with_its_default(supernet: Path, again: NewConfig, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    shutil.copytree(supernet, folder)
    options = read_yaml(folder / "config.yaml")
    del options["schedule"]["accumulate"], options["sampling"]
    (folder / "config.yaml").write_text(to_yaml(options))
    state = load_checkpoint(folder)
    del state["identity"]["model"]["detector"]["ranks"], state["schema_version"]
    save_checkpoint(folder, state)
    with pytest.raises(ValueError, match=r"expected schedule\.accumulate 2 in .*config\.yaml, found 1"):
        train(again(folder, resume=True, accumulate=2), progress=False)
    assert run(again(folder, resume=True)).read_bytes() == (supernet / "model.safetensors").read_bytes()


def test_a_resumed_run_needs_the_images_it_began_with(
    new_config: NewConfig, tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    shutil.copytree(tiny_root, root)
    config = new_config(tmp_path / "run", data=DataConfig(root=str(root)), anchors=AnchorConfig(source="ssd"))
    interrupted_at(3, monkeypatch, config)
    path = root / config.data.train_annotations
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"images": content["images"][1:]}))
    with pytest.raises(ValueError, match=r"expected model.* in .*last\.ckpt.*; data, supernet or space have changed"):
        train(replace(config, resume=True), progress=False)


def test_a_finished_model_is_never_overwritten(supernet: Path, again: NewConfig, tmp_path: Path) -> None:
    shutil.copy(supernet / "model.safetensors", tmp_path)
    with pytest.raises(ValueError, match="expected a new run folder, found a training"):
        train(again(tmp_path), progress=False)
    with pytest.raises(ValueError, match=r"expected last\.ckpt in .* to go on with, found none; pass another --output"):
        train(again(tmp_path, resume=True), progress=False)


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
    (line,) = [record.getMessage() for record in caplog.records if "layers from" in record.getMessage()]
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


@pytest.fixture(scope="module")
def progressive(new_config: NewConfig, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TrainConfig]:
    """The phases of the preset, of two steps each."""
    preset = read_config(TrainConfig, "train/progressive").schedule.phases
    rates = {"learning_rate": 1e-3, "warmup_images": 0, "num_images": 8}
    phases = tuple(replace(phase, **rates) for phase in preset)
    return lambda folder, **changes: new_config(folder, num_images=8 * len(phases), phases=phases, **changes)


@pytest.fixture(scope="module")
def shrunk(progressive: NewConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained through all phases."""
    folder = tmp_path_factory.mktemp("runs") / "shrunk"
    run(progressive(folder))
    return folder


def test_every_phase_of_progressive_shrinking_trains(
    shrunk: Path, progressive: NewConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[tuple[int, bool]] = []
    original = optimiser.accumulate_gradients

    def watched(*args: object, **kwargs: object) -> object:
        seen.append((len(kwargs["subnets"]), kwargs["teacher"] is not None))
        return original(*args, **kwargs)

    monkeypatch.setattr(optimiser, "accumulate_gradients", watched)
    assert run(progressive(tmp_path)).read_bytes() == (shrunk / "model.safetensors").read_bytes()
    assert seen[:2] == [(1, False)] * 2
    assert [taught for _, taught in seen[2:]] == [True] * 10
    assert [count for count, _ in seen[2:]] == [1, 1, 2, 2, 2, 2, 4, 4, 4, 4]
    trained = load_supernet(shrunk).network
    (transforms, *_) = [value for name, value in trained.named_parameters() if "transforms" in name]
    assert not torch.equal(transforms, torch.eye(len(transforms)))


@pytest.mark.parametrize("call", [2, 9, 10], ids=["in the first", "before the sorted", "in the sorted"])
def test_a_run_interrupted_in_a_phase_goes_on_to_the_same_weights(
    shrunk: Path, progressive: NewConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    interrupted_at(call, monkeypatch, progressive(tmp_path))
    assert run(progressive(tmp_path, resume=True)).read_bytes() == (shrunk / "model.safetensors").read_bytes()


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
