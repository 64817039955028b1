"""A network that no code names, from YAML to a `.tflite` file: what is open about the architecture."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from export.conversions import converted_file

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.data.batch import Batch
from ofa_det.detection.assignment import AssignerConfig, make_assigner
from ofa_det.detection.losses import LossConfig
from ofa_det.latency.model import latency_model
from ofa_det.latency.tflite_file import read_tflite
from ofa_det.models.calibration import calibrated
from ofa_det.models.run_folder import Trained
from ofa_det.models.supernet import Supernet
from ofa_det.training.step import accumulate_gradients

# A node may be called as the activation of another.
SPACE = """
resolutions: [64, 96]
backbone:
  padding: symmetric
  stem: {width: 8, kernel_size: 3, stride: 2, activation: relu6}
  stages:
    - {width: 16, stride: 2, activation: relu6, kinds: [fused], depths: [1, 2], kernel_sizes: [3],
       expand_ratios: [2, 4]}
    - {width: 24, stride: 2, activation: relu6, kinds: [inverted, fused], depths: [1, 2], kernel_sizes: [3, 5],
       expand_ratios: [2, 3]}
    - {width: 32, stride: 2, activation: relu6, depths: [1], kernel_sizes: [3, 5], expand_ratios: [1, 3]}
    - {width: 40, stride: 2, activation: hswish, squeeze_excite: true, depths: [1, 2], kernel_sizes: [3, 5, 7],
       expand_ratios: [3]}
neck:
  - {name: lateral5, inputs: [stages.3], width: 24}
  - {name: up5, kind: resize, inputs: [lateral5]}
  - {name: lateral4, inputs: [stages.2], width: 24}
  - {name: merged4, kind: add, inputs: [lateral4, up5]}
  - {name: up4, kind: resize, inputs: [merged4]}
  - {name: joined3, kind: concat, inputs: [stages.1, up4]}
  - {name: lateral4_relu6, inputs: [joined3], width: 24}
head:
  tower: [{kind: depthwise, kernel_size: 5}, {width: 24}]
  separate_towers: false
  shared: true
levels:
  - {feature: lateral4_relu6, stride: 8, anchors: [[0.1, 0.1]]}
  - {feature: merged4, stride: 16, anchors: [[0.25, 0.25]]}
  - {feature: lateral5, stride: 32, anchors: [[0.6, 0.6]]}
"""
# A gap in the ids makes a class column of the file that no category has.
CATEGORIES = (Category(id=1, name="a"), Category(id=3, name="b"))


@pytest.fixture
def detector_config(tmp_path: Path) -> DetectorConfig:
    path = tmp_path / "toy.yaml"
    path.write_text(SPACE)
    return DetectorConfig(num_classes=len(CATEGORIES), space=read_space(str(path)))


@pytest.fixture
def supernet(detector_config: DetectorConfig) -> Supernet:
    torch.manual_seed(0)
    network = Supernet(detector_config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "transforms" in name:  # As identities they would not show whether they are applied.
                parameter += 0.05 * torch.randn_like(parameter)
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
    return network


def images(count: int, resolution: int) -> torch.Tensor:
    return torch.rand((count, 3, resolution, resolution), generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_head_is_shared_but_for_its_norms(supernet: Supernet) -> None:
    names = set(supernet.state_dict())
    assert "head.levels.0.tower.0.weight" in names
    assert "head.levels.1.tower.0.weight" not in names
    assert {f"head.levels.{level}.tower.0.norm.weight" for level in range(3)} <= names


def test_a_step_trains_every_weight_of_its_subnets(supernet: Supernet, detector_config: DetectorConfig) -> None:
    subnets = [replace(subnet, resolution=64) for subnet in detector_config.space.covering()]
    batch = Batch(
        images=torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8),
        boxes=(torch.tensor([[0.1, 0.1, 0.3, 0.3], [0.2, 0.2, 0.9, 0.8]]), torch.tensor([[0.5, 0.5, 0.6, 0.6]])),
        labels=(torch.tensor([0, 1]), torch.tensor([1])),
        ignored=(torch.zeros((0, 4)), torch.zeros((0, 4))),
        attached=({}, {}),
    )
    losses = accumulate_gradients(
        supernet.train(),
        supernet.grid(subnets[0]),
        batch,
        subnets,
        backward=torch.Tensor.backward,
        assigner=make_assigner(AssignerConfig()),
        losses=LossConfig(),
    )
    assert all(torch.isfinite(loss.total) for loss in losses)
    assert [name for name, p in supernet.named_parameters() if p.grad is None] == []


def test_features_of_elastic_width_are_not_joined(tmp_path: Path) -> None:
    joined = "{name: merged4, kind: concat, inputs: [stages.2.0.depthwise, up5]}\n  - {name: fixed4, width: 24}"
    space = SPACE.replace("{name: merged4, kind: add, inputs: [lateral4, up5]}", joined)
    path = tmp_path / "space.yaml"
    path.write_text(space.replace("feature: merged4", "feature: fixed4"))
    found = r"'neck.merged4', found \[24, 72\] channels of 'backbone.stages.2.0.depthwise'"
    with pytest.raises(ValueError, match=f"expected inputs of one width in {found}; put a 1x1 conv before it"):
        Supernet(DetectorConfig(num_classes=2, space=read_space(str(path))))


def test_a_layer_may_be_called_as_a_method_of_torch(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE.replace("lateral5", "half").replace("merged4", "float.train"))
    network = Supernet(DetectorConfig(num_classes=2, space=read_space(str(path)))).eval()
    subnet = network.subnets.smallest()
    assert {"neck.half.weight", "head.levels.1.tower.0.norm.weight"} <= set(network.state_dict())
    with torch.no_grad():
        wanted = network(images(1, 64), subnet)
        assert torch.equal(wanted.logits, network.extract(subnet)(images(1, 64), subnet).logits)


def test_extraction_is_exact(supernet: Supernet, detector_config: DetectorConfig) -> None:
    rng = random.Random(0)
    supernet.eval()
    for _ in range(12):
        subnet = detector_config.space.sample(rng)
        batch = images(2, subnet.resolution)
        detector = supernet.extract(subnet)
        with torch.no_grad():
            for ours, theirs in zip(detector(batch, subnet)[:2], supernet(batch, subnet)[:2], strict=True):
                assert torch.equal(ours, theirs)


@pytest.mark.tflite
@pytest.mark.parametrize("choice", ["smallest", "largest"])
def test_the_file_equals_torch_and_costs_what_its_plan_says(
    supernet: Supernet, detector_config: DetectorConfig, tmp_path: Path, choice: str
) -> None:
    subnet = getattr(detector_config.space, choice)()
    description = ModelDescription(
        detector=detector_config, subnet=subnet, categories=CATEGORIES, postprocess=PostProcessConfig()
    )
    detector = calibrated(supernet, subnet, [images(4, subnet.resolution)])
    shown = [np.random.default_rng(i).integers(0, 256, (*[subnet.resolution] * 2, 3), np.uint8) for i in range(2)]
    converted = converted_file(Trained(network=detector, description=description), shown, quantized=False)
    # Conversion itself refuses a file that differs from torch by more than 1e-4; here the numbers are seen.
    assert converted.verification["box_code_error"] < 1e-5
    assert converted.verification["score_error"] < 1e-5
    path = tmp_path / "model.tflite"
    path.write_bytes(converted.content)
    file, plan = read_tflite(path), description.shipped_plan(subnet)
    assert (file.macs, sum(layer.parameters for layer in file.layers)) == (plan.macs, plan.parameters)
    model = latency_model("pixel2", precision="float32")
    assert model.predict(file.layers).mean_ms == pytest.approx(model.predict(plan.layers).mean_ms, rel=1e-6)
