"""Which layers a latency model has seen in the networks that it was fitted to, and which it extrapolates to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from ofa_det.arch.layers import Layer

FEW_NETWORKS: Final = 2
"""What no more networks than this show is named beside a prediction, too."""
_MARGIN: Final = 1.25  # A little above the largest is no extrapolation.


@dataclass(frozen=True, kw_only=True)
class LayerRange:
    """The layers of one sort that were timed, as parts of networks.

    Args:
        networks: that have such a layer.
        largest: multiply-accumulates of the largest, in millions; of a sort without weights, elements.
    """

    networks: int
    largest: float


@dataclass(frozen=True, kw_only=True)
class CalibratedRange:
    """What a model was fitted to.

    Args:
        networks: which, in words: "timed uint8 network".
        ranges: by sort of layer, as `sort_of` names it.
    """

    networks: str
    ranges: Mapping[str, LayerRange]

    @classmethod
    def of(cls, networks: str, layers_of: Iterable[Sequence[Layer]]) -> CalibratedRange:
        """The range that networks span.

        Args:
            networks: which they are, in words.
            layers_of: layers of each.
        """
        counts: dict[str, int] = {}
        largest: dict[str, float] = {}
        for layers in layers_of:
            for sort in {sort_of(layer) for layer in layers}:
                counts[sort] = counts.get(sort, 0) + 1
            for layer in layers:
                sort = sort_of(layer)
                largest[sort] = max(largest.get(sort, 0.0), _size(layer))
        ranges = {sort: LayerRange(networks=counts[sort], largest=largest[sort]) for sort in sorted(counts)}
        return cls(networks=networks, ranges=ranges)

    def notes(self, layers: Sequence[Layer], layer_ms: Sequence[float]) -> tuple[str, ...]:
        """What of a network is not, or hardly, backed by timed ones.

        Args:
            layers: of the network.
            layer_ms: the predicted time of each.
        """
        total_ms = sum(layer_ms) or 1.0
        found: dict[tuple[int, str], list[float]] = {}
        for layer, ms in zip(layers, layer_ms, strict=True):
            sort = sort_of(layer)
            known = self.ranges.get(sort)
            if known is None:
                found.setdefault((0, f"{sort}: in no {self.networks}"), []).append(ms)
            elif _size(layer) > _MARGIN * known.largest:
                found.setdefault((1, f"{sort} larger than in any {self.networks}"), []).append(ms)
            elif known.networks <= FEW_NETWORKS:
                count = f"{known.networks} {self.networks}{'s' if known.networks > 1 else ''}"
                found.setdefault((2, f"{sort}: in {count} only"), []).append(ms)
        return tuple(
            f"{text} ({len(times)} layer{'s' if len(times) > 1 else ''}, {sum(times) / total_ms:.0%} of the network)"
            for (_, text), times in sorted(found.items())
        )


def sort_of(layer: Layer) -> str:
    """The sort of a layer: its kind, and the size of its kernel."""
    if layer.kind in ("conv", "depthwise"):
        return f"{layer.kind} {layer.kernel_size}x{layer.kernel_size}"
    return layer.kind.replace("_", " ")


def _size(layer: Layer) -> float:
    return (layer.macs or prod(layer.output_shape)) / 1e6
