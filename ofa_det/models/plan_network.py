"""Runs a layer plan on tensors; the static detector and the supernet differ only in their weighted layers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofa_det.arch.layer_plan import IMAGES, Activation, Layer, LayerPlan
from ofa_det.detection.output import DetectorOutput

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda features: features,
    "relu": F.relu,
    "relu6": F.relu6,
    "hswish": F.hardswish,
    "hsigmoid": F.hardsigmoid,
}

PRIOR_PROBABILITY = 0.01
"""Class probability of an untrained detector (Focal Loss, section 3.3)."""


class PlanNetwork(nn.Module, ABC):
    """A network whose submodules are named as the plan's layers."""

    def add_layer(self, name: str, module: nn.Module) -> None:
        """Registers a module so that its weights' keys begin with the layer's name."""
        *path, leaf = name.split(".")
        parent: nn.Module = self
        for part in path:
            if not hasattr(parent, part):
                parent.add_module(part, nn.Module())
            parent = getattr(parent, part)
        parent.add_module(leaf, module)

    @abstractmethod
    def apply_weights(self, layer: Layer, features: Tensor) -> Tensor:
        """Convolution and batch norm of one layer, without its activation."""

    def run_plan(self, plan: LayerPlan, images: Tensor) -> DetectorOutput:
        """Runs the layers in order.

        Args:
            plan: of a detector.
            images: (B, 3, H, W), normalised, with H = W = the plan's resolution.

        Returns:
            Box codes (B, A, 4) and logits (B, A, C), anchors ordered by level, row, column, size.

        Raises:
            ValueError: images of another size.
        """
        if images.shape[-2:] != (plan.resolution, plan.resolution):
            raise ValueError(f"expected images of {plan.resolution} px, found {tuple(images.shape[-2:])}")
        values = {IMAGES: images.contiguous(memory_format=torch.channels_last)}
        for layer in plan.layers:
            first, *others = (values[name] for name in layer.inputs)
            if layer.kind == "pool":
                result = first.mean(dim=(2, 3), keepdim=True)
            elif layer.kind == "multiply":
                result = first * others[0]
            elif layer.kind == "add":
                result = first + others[0]
            else:
                result = self.apply_weights(layer, first)
            values[layer.name] = _ACTIVATIONS[layer.activation](result)
        boxes, logits = [], []
        for box_name, score_name in zip(plan.box_outputs, plan.score_outputs, strict=True):
            sizes = plan[box_name].out_channels // 4
            boxes.append(_per_anchor(values[box_name], 4))
            logits.append(_per_anchor(values[score_name], plan[score_name].out_channels // sizes))
        return DetectorOutput(box_codes=torch.cat(boxes, dim=1), logits=torch.cat(logits, dim=1))

    def init_predictors(self, plan: LayerPlan) -> None:
        """Starts the class logits at the prior probability and near-zero box codes, as focal loss needs."""
        parameters = dict(self.named_parameters())
        for name in (*plan.box_outputs, *plan.score_outputs):
            nn.init.normal_(parameters[f"{name}.weight"], std=0.01)
        for name in plan.score_outputs:
            nn.init.constant_(parameters[f"{name}.bias"], -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY))


def _per_anchor(level: Tensor, values: int) -> Tensor:
    """One level's map (B, sizes * values, H, W) to (B, H * W * sizes, values)."""
    return level.permute(0, 2, 3, 1).reshape(len(level), -1, values)
