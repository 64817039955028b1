"""From a trained detector over quantization-aware training to the file."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ofa_det.artefacts.manifest import read_manifest
from ofa_det.artefacts.records import read_yaml
from ofa_det.data.anchors import AnchorConfig
from ofa_det.export.config import ExportConfig
from ofa_det.export.run import export
from ofa_det.models.fake_quantization import read_ranges
from ofa_det.models.run_folder import load_detector, save_model
from ofa_det.training import optimiser
from ofa_det.training.config import TrainConfig
from ofa_det.training.quantization import QuantizeConfig
from ofa_det.training.run import train
from ofa_det.training.schedule import ScheduleConfig


@pytest.fixture(scope="module")
def config(trained, shapes_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    save_model(folder / "det", trained.description, trained.network)
    return TrainConfig(
        data=shapes_config,
        output=str(folder / "qat"),
        quantize=QuantizeConfig(detector=str(folder / "det"), momentum=0.1),
        schedule=ScheduleConfig(num_images=16, batch_size=4, warmup_images=4, learning_rate=1e-4),
        num_workers=0,
        calibration_images=8,
        checkpoint_every=8,
    )


@pytest.mark.tflite
def test_a_trained_detector_goes_on_with_quantization_to_its_file(config, trained, tmp_path):
    train(config, progress=False)
    ranges, found = read_ranges(config.output), load_detector(config.output)
    assert found.description.subnet == trained.description.subnet
    assert found.description.postprocess == trained.description.postprocess
    moved = found.network.state_dict()["backbone.stem.weight"] - trained.network.state_dict()["backbone.stem.weight"]
    assert 0 < moved.abs().max() < 0.01
    assert torch.equal(
        found.network.state_dict()["backbone.stem.norm.running_mean"],
        trained.network.state_dict()["backbone.stem.norm.running_mean"],
    )
    assert len({high for _, high in ranges.values()}) > 20
    assert "space" not in read_yaml(f"{config.output}/config.yaml")

    target = ExportConfig(
        model=config.output, data=config.data, format="tflite-int8-qat", output=str(tmp_path), compared_images=3
    )
    accuracy = read_manifest(export(target, progress=False).model_path).accuracy
    assert accuracy.simulated_ap == pytest.approx(accuracy.after.AP, abs=2e-3)


@pytest.mark.slow
def test_an_interrupted_training_goes_on_to_the_same_ranges(config, tmp_path, monkeypatch):
    whole, parts = (replace(config, output=str(tmp_path / name)) for name in ("whole", "parts"))
    train(whole, progress=False)
    original, calls = optimiser.TrainingStep.__call__, []

    def interrupted(self, step, batch):
        if step == 3 and not calls:
            calls.append(step)
            raise KeyboardInterrupt
        return original(self, step, batch)

    monkeypatch.setattr(optimiser.TrainingStep, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(parts, progress=False)
    train(replace(parts, resume=True), progress=False)
    assert read_ranges(parts.output) == read_ranges(whole.output)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subnet": "r64 k3e1"}, "expected no --subnet with --quantize.detector"),
        ({"pretrained": "efficientnet_lite0"}, "expected no --pretrained with --quantize.detector"),
        ({"anchors": AnchorConfig(count=2)}, "expected no --anchors with --quantize.detector"),
        ({"schedule": ScheduleConfig(precision="bf16-mixed")}, "precision 32-true with --quantize.detector"),
    ],
)
def test_what_comes_with_the_detector_is_not_given_again(config, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(config, **changes)


@pytest.mark.parametrize("changes", [{"momentum": 1.5}, {"moving_share": -0.1}])
def test_options_of_quantization_are_checked(changes):
    with pytest.raises(ValueError, match=r"in \[0, 1\], found"):
        QuantizeConfig(**changes)


def test_ranges_move_in_the_first_part_of_a_training():
    config = QuantizeConfig(momentum=0.1, moving_share=0.5)
    assert [config.momentum_at(step, 4) for step in range(4)] == [0.1, 0.1, 0.0, 0.0]
