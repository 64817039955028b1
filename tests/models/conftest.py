from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.models.network import DetectionNetwork
from ofa_det.models.supernet import Supernet

# A pyramid from the coarse level to the fine one and back, one head for all levels, dense kernels of several sizes.
OPEN_SPACE = """
resolutions: [64, 96]
backbone:
  padding: symmetric
  stem: {width: 8, kernel_size: 3, stride: 2}
  stages:
    - {width: 16, stride: 2, activation: relu, kinds: [inverted, fused],
       depths: [1, 2], kernel_sizes: [3, 5], expand_ratios: [1, 2]}
    - {width: 24, stride: 2, activation: relu6, kinds: [fused],
       depths: [1, 2], kernel_sizes: [3, 5], expand_ratios: [2, 3]}
    - {width: 32, stride: 2, activation: hswish, squeeze_excite: true,
       depths: [1, 3], kernel_sizes: [3, 5, 7], expand_ratios: [2, 4]}
neck:
  - {name: top, inputs: [stages.2], width: 16}
  - {name: up, kind: resize}
  - {name: lateral, inputs: [stages.1], width: 16}
  - {name: sum, kind: add, inputs: [up, lateral]}
  - {name: down, kind: depthwise, kernel_size: 3, stride: 2}
  - {name: joined, kind: concat, inputs: [down, top, stages.2]}
  - {name: coarse, width: 16}
head:
  tower: [{kind: depthwise, kernel_size: 3}, {width: 24, activation: relu}]
  separate_towers: true
  shared: true
levels:
  - {feature: sum, stride: 8, anchors: [[0.1, 0.1], [0.2, 0.1]]}
  - {feature: coarse, stride: 16, anchors: [[0.3, 0.3], [0.6, 0.7]]}
"""


@pytest.fixture(scope="session")
def open_space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    path = tmp_path_factory.mktemp("spaces") / "open.yaml"
    path.write_text(OPEN_SPACE)
    return read_space(str(path))


@pytest.fixture(scope="session", params=["ssdlite", "open"])
def config(request: pytest.FixtureRequest, tiny_space: SearchSpace, open_space: SearchSpace) -> DetectorConfig:
    """Of the space that ships, and of one that no code knows."""
    if request.param == "open":
        return DetectorConfig(num_classes=3, space=open_space)
    return DetectorConfig.of(tiny_space, num_classes=3, anchor_sizes=ssd_anchor_sizes())


@pytest.fixture
def supernet(config: DetectorConfig) -> Supernet:
    """As after a training: kernel transforms that are no identities, statistics that tell channels apart."""
    torch.manual_seed(0)
    network = Supernet(config)
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *network.named_buffers()]:
            if "transforms" in name:
                value += 0.1 * torch.randn_like(value)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif name.endswith("running_mean"):
                value.normal_(std=0.1)
            elif "norm" in name and value.is_floating_point():
                value += 0.2 * torch.randn_like(value)
            elif name.endswith("project.weight"):
                value.normal_(std=0.1)
    return network


@pytest.fixture
def block_outputs() -> Callable[[DetectionNetwork, Tensor, SubnetConfig], list[Tensor]]:
    """What the projection of each block of a subnet's backbone gives, before the sum, in their order."""

    def outputs(network: DetectionNetwork, images: Tensor, subnet: SubnetConfig) -> list[Tensor]:
        found: list[Tensor] = []
        names = [layer.name for layer in network.plan(subnet).layers]
        projections = [name for name in names if name.startswith("backbone.") and name.endswith(".project")]
        hooks = [
            network.convolutions[name].norm.register_forward_hook(lambda *call: found.append(call[2]))
            for name in projections
        ]
        with torch.no_grad():
            network(images, subnet)
        for hook in hooks:
            hook.remove()
        return found

    return outputs
