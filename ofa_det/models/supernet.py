"""The supernet: every subnet of a search space in one set of weights."""

from __future__ import annotations

import torch
from torch import Tensor

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.layer_plan import Layer, detector_plan
from ofa_det.arch.search_space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.detection.output import DetectorOutput
from ofa_det.elastic.convolution import ElasticConv2d, ElasticDepthwiseConv2d
from ofa_det.models.plan_network import PlanNetwork


class Supernet(PlanNetwork):
    """An elastic detector; the subnet is an argument of the call, never a state.

    Args:
        config: what all subnets share.
        space: the subnets it holds.
    """

    def __init__(self, config: DetectorConfig, space: SearchSpace) -> None:
        super().__init__()
        self.config = config
        self.space = space
        plan = detector_plan(config, space.largest())
        for layer in plan.layers:
            if layer.kind == "depthwise":
                elastic = layer.name.startswith("backbone.stages.")
                sizes = space.kernel_sizes if elastic else (layer.kernel_size,)
                self.add_layer(layer.name, ElasticDepthwiseConv2d(layer.out_channels, sizes))
            elif layer.has_weights:
                self.add_layer(
                    layer.name,
                    ElasticConv2d(
                        layer.in_channels, layer.out_channels, layer.kernel_size, batch_norm=layer.batch_norm
                    ),
                )
        self.init_predictors(plan)
        self.to(memory_format=torch.channels_last)

    def apply_weights(self, layer: Layer, features: Tensor) -> Tensor:
        """Convolution and batch norm of one layer, cut to the layer's width and kernel."""
        module = self.get_submodule(layer.name)
        applied: Tensor = module(
            features, layer.kernel_size if layer.kind == "depthwise" else layer.out_channels, layer.stride
        )
        return applied

    def forward(self, images: Tensor, subnet: SubnetConfig) -> DetectorOutput:
        """Runs one subnet.

        Args:
            images: (B, 3, R, R), normalised, R the subnet's resolution.
            subnet: of the space.

        Returns:
            Box codes (B, A, 4) and logits (B, A, C).

        Raises:
            ValueError: a subnet that the space does not hold.
        """
        if subnet not in self.space:
            raise ValueError(f"expected a subnet of {self.space}, found {subnet}")
        return self.run_plan(detector_plan(self.config, subnet), images)
