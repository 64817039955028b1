"""The static detector: one subnet as an ordinary network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.layer_plan import Layer, LayerPlan, detector_plan
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.detection.anchors import anchor_boxes
from ofa_det.detection.output import DetectorOutput
from ofa_det.elastic.padding import conv2d_same
from ofa_det.models.plan_network import PlanNetwork


class PlanConv2d(nn.Module):
    """Convolution of one layer, with its batch norm or bias."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.stride = layer.stride
        self.groups = layer.in_channels if layer.kind == "depthwise" else 1
        shape = (layer.out_channels, layer.in_channels // self.groups, layer.kernel_size, layer.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = None if layer.batch_norm else nn.Parameter(torch.zeros(layer.out_channels))
        self.norm = nn.BatchNorm2d(layer.out_channels, eps=1e-5, momentum=0.1) if layer.batch_norm else None
        # Fan-out by area and, for a dense layer, width: the groups of a depthwise layer do not mix.
        fan_out = layer.kernel_size**2 * (1 if layer.kind == "depthwise" else layer.out_channels)
        nn.init.normal_(self.weight, std=(2.0 / fan_out) ** 0.5)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, O, ceil(H / stride), ceil(W / stride))."""
        features = conv2d_same(features, self.weight, self.bias, self.stride, self.groups)
        return features if self.norm is None else self.norm(features)


class Detector(PlanNetwork):
    """A detector of one fixed architecture.

    Args:
        config: what the detector shares with its supernet.
        subnet: the architecture.
    """

    def __init__(self, config: DetectorConfig, subnet: SubnetConfig) -> None:
        super().__init__()
        self.config = config
        self.subnet = subnet
        for layer in self.plan.layers:
            if layer.has_weights:
                self.add_layer(layer.name, PlanConv2d(layer))
        self.init_predictors(self.plan)
        self.to(memory_format=torch.channels_last)

    @property
    def plan(self) -> LayerPlan:
        """The layers."""
        return detector_plan(self.config, self.subnet)

    @property
    def anchors(self) -> Tensor:
        """(A, 4) (cx, cy, w, h), normalised."""
        return anchor_boxes(self.plan.feature_sizes, self.config.anchor_sizes)

    def apply_weights(self, layer: Layer, features: Tensor) -> Tensor:
        """Convolution and batch norm of one layer."""
        applied: Tensor = self.get_submodule(layer.name)(features)
        return applied

    def forward(self, images: Tensor) -> DetectorOutput:
        """Detects on images (B, 3, R, R), normalised, R the subnet's resolution."""
        return self.run_plan(self.plan, images)
