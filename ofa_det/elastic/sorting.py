"""Channel sorting: the first channels of an elastic width are the ones that matter most.

A narrow subnet keeps the first channels of a layer (Once-for-All, section 3.3), so trained weights that know no order
are put in one before they shrink.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ofa_det.arch.plan import LayerPlan
from ofa_det.elastic.layers import ElasticConvolution

_KEEPS_CHANNELS = ("depthwise", "pool", "resize", "multiply")
"""Kinds whose output channel c is made of channel c of each input."""


class _Axis(NamedTuple):
    """Channels that a layer gives, or those that it reads."""

    layer: str
    read: bool


@torch.no_grad()
def sort_channels(plans: Sequence[LayerPlan], modules: Mapping[str, ElasticConvolution]) -> None:
    """Sorts the channels of every elastic width by descending L1 norm of the weights that the block reads them with.

    Expanded channels are sorted by the projection, squeezed ones by the excitation. Everything that makes or reads such
    a channel moves with it, readers outside the block too, so that the largest subnet computes what it did. Others
    change: their first channels are now the important ones.

    Args:
        plans: of subnets that together have every layer in each of its widths, such as those of `SearchSpace.covering`.
        modules: by layer name; changed in place.
    """
    for axes in _common_axes(plans):
        block = axes[0].layer.rpartition(".")[0]
        inside = [axis.layer for axis in axes if axis.read and axis.layer.rpartition(".")[0] == block]
        if not inside:
            continue
        # The gate's squeeze reads the channels too, before the projection does.
        norms = modules[inside[-1]].weight.double().abs().sum(dim=(0, 2, 3))
        order = torch.argsort(norms, descending=True, stable=True)
        for axis in axes:
            if axis.read:
                modules[axis.layer].weight.copy_(modules[axis.layer].weight[:, order])
            elif axis.layer in modules:
                _permute_outputs(modules[axis.layer], order)


def _common_axes(plans: Sequence[LayerPlan]) -> list[list[_Axis]]:
    """Axes of elastic width, those together that have the same channels; in the order of the plans."""
    widths: dict[str, set[int]] = {}
    for plan in plans:
        for layer in plan.layers:
            widths.setdefault(layer.name, set()).add(layer.out_channels)
    group_of: dict[_Axis, list[_Axis]] = {}
    for plan in plans:
        for layer in plan.layers:
            # A narrow layer may read other channels than in the largest subnet: where the expansion is left out, those
            # of the block before.
            if layer.out_channels < max(widths[layer.name]):
                continue
            given, read = _Axis(layer.name, read=False), _Axis(layer.name, read=True)
            group_of.setdefault(given, [given])
            for name in layer.inputs:
                if (source := group_of.get(_Axis(name, read=False))) is not None:
                    own = given if layer.kind in _KEEPS_CHANNELS else read
                    _join(group_of, source, group_of.get(own, [own]))
    groups = {id(group): group for group in group_of.values()}.values()
    return [group for group in groups if any(len(widths[axis.layer]) > 1 and not axis.read for axis in group)]


def _join(group_of: dict[_Axis, list[_Axis]], first: list[_Axis], second: list[_Axis]) -> None:
    if first is not second:
        first.extend(second)
        group_of.update(dict.fromkeys(second, first))


def _permute_outputs(module: ElasticConvolution, order: Tensor) -> None:
    tensors: list[Tensor | None] = [module.weight, module.bias]
    if module.norm is not None:
        norm = module.norm
        tensors += [norm.weight, norm.bias, norm.running_mean, norm.running_var]
    for tensor in tensors:
        if tensor is not None:
            tensor.copy_(tensor[order])
