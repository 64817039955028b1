import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_runs import interrupted_at, run

from ofa_det.arch.description import PostProcessConfig
from ofa_det.artefacts.configs import read_config
from ofa_det.artefacts.records import read_yaml, to_yaml
from ofa_det.data.anchors import AnchorConfig
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.splits import DataConfig
from ofa_det.models.run_folder import load_supernet
from ofa_det.training import optimiser
from ofa_det.training.config import TrainConfig
from ofa_det.training.run import train
from ofa_det.training.state import load_checkpoint, save_checkpoint

NewConfig = Callable[..., TrainConfig]


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
