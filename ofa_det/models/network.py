"""Networks that run a layer plan. Supernet and detector are such networks and answer the same calls."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ofa_det.arch.detector import DetectorConfig, detector_plan
from ofa_det.arch.layers import RESIZE_FACTOR, Activation, Layer
from ofa_det.arch.plan import IMAGES, LayerPlan
from ofa_det.arch.space import OneSubnet, Subnets
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.detection.anchors import anchor_boxes
from ofa_det.detection.box_coder import enlargement
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.targets import AnchorGrid
from ofa_det.elastic.layers import BATCH_NORM_MOMENTUM, convolve, initial_std

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "none": lambda features: features,
    "relu": partial(F.relu, inplace=True),
    "relu6": partial(F.relu6, inplace=True),
    "hswish": partial(F.hardswish, inplace=True),
    "hsigmoid": partial(F.hardsigmoid, inplace=True),
}
"""In place, since nothing else reads what a layer gives before its activation."""

PRIOR_PROBABILITY = 0.01
"""Class probability of an untrained detector (Focal Loss, section 3.3)."""


def activate(layer: Layer, features: Tensor) -> Tensor:
    """The activation of a layer, in place."""
    return _ACTIVATIONS[layer.activation](features)


def combine(layer: Layer, inputs: list[Tensor]) -> Tensor:
    """A layer without weights and without its activation."""
    if layer.kind == "pool":
        return inputs[0].mean(dim=(2, 3), keepdim=True)
    if layer.kind == "multiply":
        return inputs[0] * inputs[1]
    if layer.kind == "add":
        return torch.stack(inputs).sum(0) if len(inputs) > 2 else inputs[0] + inputs[1]
    if layer.kind == "concat":
        return torch.cat(inputs, dim=1)
    if layer.kind == "resize":
        return F.interpolate(inputs[0], scale_factor=RESIZE_FACTOR, mode="nearest")
    raise ValueError(f"expected a layer without weights, found {layer.kind!r} in {layer.name!r}")


class Convolution(Protocol):
    """What a network has under the name of a weighted layer."""

    norm: nn.BatchNorm2d | None

    def weights(self, layer: Layer) -> tuple[Tensor, Tensor | None]:
        """Weight (O, C / groups, k, k) and bias (O,) of the layer."""
        ...


class DetectionNetwork(nn.Module, ABC):
    """A network of submodules named as the layers of its plans; which subnet runs is an argument, never a state.

    Args:
        config: what all its subnets share.
        subnets: those it holds.
        modules: name and module of every weighted layer.
    """

    def __init__(self, config: DetectorConfig, subnets: Subnets, modules: Iterable[tuple[str, nn.Module]]) -> None:
        super().__init__()
        self.config = config
        self.subnets = subnets
        self._by_layer: dict[str, Convolution] = {}
        for name, module in modules:
            self._add(name, module)
        self._init_predictors()
        self.to(memory_format=torch.channels_last)

    @property
    def convolutions(self) -> Mapping[str, Convolution]:
        """What stands under the name of each weighted layer."""
        return self._by_layer

    def plan(self, subnet: SubnetConfig) -> LayerPlan:
        """The layers of a subnet."""
        return detector_plan(self.config, subnet)

    def anchors(self, subnet: SubnetConfig) -> Tensor:
        """(A, 4) (cx, cy, w, h), normalised."""
        return anchor_boxes(self.plan(subnet).feature_sizes, self.config.anchor_sizes)

    def grid(self, subnet: SubnetConfig) -> AnchorGrid:
        """The anchors, with what an assigner needs to know of their levels."""
        plan = self.plan(subnet)
        return AnchorGrid(boxes=self.anchors(subnet), feature_sizes=plan.feature_sizes, per_cell=plan.anchors_per_cell)

    @abstractmethod
    def extract(self, subnet: SubnetConfig) -> Detector:
        """A subnet as a detector with its own copy of the weights; its outputs equal this network's bit for bit.

        Raises:
            ValueError: a subnet that this network does not hold.
        """

    def forward(self, images: Tensor, subnet: SubnetConfig, feature_levels: tuple[int, ...] = ()) -> DetectorOutput:
        """Runs one subnet.

        Args:
            images: (B, 3, R, R), normalised, R the subnet's resolution.
            subnet: one that this network holds.
            feature_levels: positions of the levels whose features are wanted too.

        Returns:
            Box codes (B, A, 4) and logits (B, A, C), anchors ordered by level, row, column, size, and the features
            that the head reads at the levels asked for.

        Raises:
            ValueError: a subnet that this network does not hold, or images of another size.
        """
        self._check(subnet)
        plan = self.plan(subnet)
        if images.shape[-2:] != (plan.resolution, plan.resolution):
            raise ValueError(f"expected images of {plan.resolution} px, found {tuple(images.shape[-2:])}")
        wanted = [plan.level_features[level] for level in feature_levels]
        values = {IMAGES: images.contiguous(memory_format=torch.channels_last)}
        for layer, freed in zip(plan.layers, plan.last_reads, strict=True):
            values[layer.name] = self._activate(layer, self._run(plan, layer, [values[name] for name in layer.inputs]))
            for name in freed:
                if name not in wanted:
                    del values[name]
        boxes = [_per_anchor(values[name], 4) for name in plan.box_outputs]
        logits = [_per_anchor(values[name], self.config.num_classes) for name in plan.score_outputs]
        return DetectorOutput(
            box_codes=torch.cat(boxes, dim=1),
            logits=torch.cat(logits, dim=1),
            features=tuple(values[name] for name in wanted),
        )

    def weights(self, plan: LayerPlan, layer: Layer) -> tuple[Tensor, Tensor | None]:
        """Weight (O, C / groups, k, k) and bias (O,) of a layer in a subnet's plan.

        Anchors are normalised, features know pixels: an object of so many pixels has other box codes at another
        resolution, and nothing in the image tells which that is. So predictors of boxes learn the codes at the
        resolution of the largest subnet, and at others their weights are those that give the same pixels.
        """
        weight, bias = self._by_layer[layer.weights_of or layer.name].weights(layer)
        zoom = self.subnets.largest().resolution / plan.resolution
        if zoom == 1 or layer.name not in plan.box_outputs:
            return weight, bias
        assert bias is not None, "predictors have a bias"
        return _zoomed(weight, bias, zoom)

    @torch.no_grad()
    def state_at(self, resolution: int) -> dict[str, Tensor]:
        """The state dict for a network whose largest subnet has another resolution; see `weights`."""
        state, largest = self.state_dict(), self.subnets.largest()
        plan, zoom = self.plan(largest), largest.resolution / resolution
        for name in plan.box_outputs:
            if zoom != 1 and plan[name].weights_of is None:
                keys = f"{name}.weight", f"{name}.bias"
                state |= zip(keys, _zoomed(state[keys[0]], state[keys[1]], zoom), strict=True)
        return state

    def _run(self, plan: LayerPlan, layer: Layer, inputs: list[Tensor]) -> Tensor:
        """One layer without its activation."""
        if not layer.has_weights:
            return combine(layer, inputs)
        module = self._by_layer[layer.name]
        weight, bias = self.weights(plan, layer)
        features = convolve(inputs[0], weight, bias, layer)
        return features if module.norm is None else cast(Tensor, module.norm(features))

    def _activate(self, layer: Layer, features: Tensor) -> Tensor:
        """What a layer gives: the last station of the walk, where quantization looks on and steps in."""
        return activate(layer, features)

    def _check(self, subnet: SubnetConfig) -> None:
        if subnet not in self.subnets:
            raise ValueError(f"expected a subnet of this network, such as {self.subnets.largest()}, found {subnet}")

    def _add(self, name: str, module: nn.Module) -> None:
        """Registers a module so that its weights' keys begin with the layer's name.

        Past `add_module`, which refuses names that are methods of a module too, such as `half`.
        """
        *path, leaf = name.split(".")
        parent: nn.Module = self
        for part in path:
            child = parent._modules.get(part)
            if child is None:
                child = parent._modules[part] = nn.Module()
            parent = child
        parent._modules[leaf] = module
        self._by_layer[name] = cast(Convolution, module)

    def _init_predictors(self) -> None:
        """Starts the class logits at the prior probability and near-zero box codes, as focal loss needs."""
        plan = self.plan(self.subnets.largest())
        parameters = dict(self.named_parameters())
        owned = [name for name in (*plan.box_outputs, *plan.score_outputs) if plan[name].weights_of is None]
        for name in owned:
            nn.init.normal_(parameters[f"{name}.weight"], std=0.01)
            if name in plan.score_outputs:
                bias = -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY)
                nn.init.constant_(parameters[f"{name}.bias"], bias)


class StaticConvolution(nn.Module):
    """Convolution of one layer, with its batch norm or bias.

    Args:
        layer: its shape. One that uses the weights of another has a batch norm alone.
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        out = layer.out_channels
        self.norm = nn.BatchNorm2d(out, layer.batch_norm_epsilon, BATCH_NORM_MOMENTUM) if layer.batch_norm else None
        self.bias: nn.Parameter | None = None
        if layer.weights_of is not None:
            return
        shape = (out, layer.in_channels // layer.groups, layer.kernel_size, layer.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape))
        self.bias = None if layer.batch_norm else nn.Parameter(torch.zeros(out))
        nn.init.normal_(self.weight, std=initial_std(layer.kernel_size, out, depthwise=layer.kind == "depthwise"))

    def weights(self, layer: Layer) -> tuple[Tensor, Tensor | None]:
        """Weight (O, C / groups, k, k) and bias (O,) of the layer, which is the only one it can be."""
        return self.weight, self.bias


class Detector(DetectionNetwork):
    """A detector of one architecture.

    Args:
        config: what it shares with its supernet.
        subnet: the architecture, at the resolution that ships.
        resolutions: at which it can run, ascending, in pixels; by default the subnet's alone.

    Raises:
        ValueError: an architecture whose parts do not fit together at each resolution.
    """

    def __init__(
        self, config: DetectorConfig, subnet: SubnetConfig, resolutions: tuple[int, ...] | None = None
    ) -> None:
        for resolution in resolutions or ():
            detector_plan(config, replace(subnet, resolution=resolution))
        layers = detector_plan(config, subnet).layers
        super().__init__(
            config,
            OneSubnet(subnet=subnet, resolutions=resolutions or (subnet.resolution,)),
            ((layer.name, StaticConvolution(layer)) for layer in layers if layer.has_weights),
        )
        self.subnet = subnet

    @torch.no_grad()
    def extract(self, subnet: SubnetConfig) -> Detector:
        """A copy, at the subnet's resolution."""
        self._check(subnet)
        detector = Detector(self.config, subnet).to(next(self.parameters()).device)
        detector.load_state_dict(self.state_at(subnet.resolution))
        return detector.train(self.training)


def _zoomed(weight: Tensor, bias: Tensor, zoom: float) -> tuple[Tensor, Tensor]:
    """Of a predictor of boxes, such that its boxes are larger, about their anchors' centres."""
    factor, shift = (weight.new_tensor(row).repeat(len(weight) // 4) for row in enlargement(zoom))
    return weight * factor[:, None, None, None], bias * factor + shift


def _per_anchor(level: Tensor, values: int) -> Tensor:
    """One level's map (B, sizes * values, H, W) to (B, H * W * sizes, values)."""
    return level.permute(0, 2, 3, 1).reshape(len(level), -1, values)
