"""Pointwise convolutions of low rank: two in place of one (Denton et al. 2014, section 3.2, of 1x1 kernels)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ofa_det.arch.layers import BATCH_NORM_EPSILON, Layer
from ofa_det.arch.plan import LayerPlan

REDUCED = "_reduced"
"""Follows the name of a layer of low rank in that of the convolution before it, whose outputs are so many."""


@dataclass(frozen=True, kw_only=True)
class LayerRank:
    """A pointwise convolution and the rank of its weights.

    Args:
        layer: its name.
        rank: channels between the two convolutions that it becomes.
    """

    layer: str
    rank: int

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"expected a rank >= 1 of {self.layer!r}, found {self.rank}")


def largest_rank(layer: Layer) -> int:
    """The largest rank at which two convolutions take fewer multiply-accumulates than the one; 0 if none does."""
    ends = layer.in_channels, layer.out_channels
    return (ends[0] * ends[1] - 1) // sum(ends)


def pointwise_layers(plan: LayerPlan) -> tuple[Layer, ...]:
    """The 1x1 convolutions with weights of their own alone, for which a rank can be stated."""
    shared = {name for layer in plan.layers if layer.weights_of for name in (layer.name, layer.weights_of)}
    return tuple(
        layer
        for layer in plan.layers
        if layer.kind == "conv" and layer.kernel_size == 1 and layer.name not in shared and largest_rank(layer) > 0
    )


def halves(layer: Layer, rank: int) -> tuple[Layer, Layer]:
    """The two convolutions that a pointwise one becomes: to `rank` channels, and, under its name, to its own.

    The first has neither norm nor activation; the second has those of the layer.
    """
    first = replace(
        layer,
        name=layer.name + REDUCED,
        out_channels=rank,
        activation="none",
        batch_norm=False,
        batch_norm_epsilon=BATCH_NORM_EPSILON,
    )
    return first, replace(layer, inputs=(first.name,), input_shapes=(first.output_shape,), stride=1)


def with_ranks(plan: LayerPlan, ranks: Sequence[LayerRank]) -> LayerPlan:
    """A plan with two convolutions in place of each that has a rank.

    Raises:
        ValueError: a layer that is none, or none that a rank can be stated for, or a rank that saves nothing.
    """
    if not ranks:
        return plan
    possible = {layer.name: layer for layer in pointwise_layers(plan)}
    for each in ranks:
        if each.layer not in possible:
            raise ValueError(
                f"expected a rank of a 1x1 convolution whose weights no other layer uses, such as "
                f"{', '.join(list(possible)[:2])}, found one of {each.layer!r}"
            )
        layer = possible[each.layer]
        if each.rank > largest_rank(layer):
            raise ValueError(
                f"expected a rank up to {largest_rank(layer)} of {layer.name!r}, above which two convolutions cost "
                f"more than its {layer.in_channels} x {layer.out_channels}, found {each.rank}"
            )
        if layer.name + REDUCED in {other.name for other in plan.layers}:
            raise ValueError(f"expected no layer named {layer.name + REDUCED!r} beside one of low rank, found one")
    rank_of = {each.layer: each.rank for each in ranks}
    layers = [
        part
        for layer in plan.layers
        for part in (halves(layer, rank_of[layer.name]) if layer.name in rank_of else (layer,))
    ]
    return replace(plan, layers=tuple(layers))
