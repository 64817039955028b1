"""Architectures as a picture: a row for each subnet, a bar for each block, the milliseconds of each stage."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import BlockConfig, SubnetConfig
from ofa_det.latency.latencies import LatencyPrediction

_COLOURS: Final[Mapping[int, str]] = {1: "#dddddd", 3: "#9ecae1", 5: "#4292c6", 7: "#08519c"}
_LARGER: Final = "#08306b"
_GAP: Final = 0.7
"""Between two stages, in widths of a block."""
_STAGES: Final = "backbone.stages."
_REST: Final = 3.2
"""Widths of a block that the column of each part behind the backbone has."""


@dataclass(frozen=True, kw_only=True)
class DrawnSubnet:
    """A row.

    Args:
        title: to the left of it; lines are kept.
        subnet: the network.
        latency: whose parts stand below the stages.
    """

    title: str
    subnet: SubnetConfig
    latency: LatencyPrediction


def architectures_plot(space: SearchSpace, rows: Sequence[DrawnSubnet], *, title: str = "") -> bytes:
    """Architectures as a PNG: height of a bar is the expand ratio, colour the kernel size, hatching a fused block.

    Args:
        space: of the subnets.
        rows: from top to bottom.
        title: above all.

    Raises:
        ValueError: nothing to draw.
    """
    if not rows:
        raise ValueError("expected subnets to draw, found none")
    slots = [max(len(row.subnet.stages[stage]) for row in rows) for stage in range(len(space.stages))]
    starts, x = [], 0.0
    for count in slots:
        starts.append(x)
        x += max(count, 1.6) + _GAP  # The milliseconds of a stage of one block are wider than the block.
    figure = Figure(figsize=(10, 1.3 + 0.8 * len(rows)), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    most = max(ratio for stage in space.stages for ratio in stage.expand_ratios)
    for number, row in enumerate(rows):
        _draw_row(axes, row, -float(number), starts, most)
        _write_rest(axes, row, -float(number), x)
    _write_heads(axes, space, starts, slots, x)
    axes.set_xlim(-0.3, x + 2 * _REST)
    axes.set_ylim(-len(rows) + 0.65, 1.25)
    axes.set_yticks([0.35 - number for number in range(len(rows))], [row.title for row in rows], size=9)
    axes.tick_params(left=False)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, size=11)
    sizes = sorted({block.kernel_size for row in rows for blocks in row.subnet.stages for block in blocks})
    keys = [Patch(facecolor=_colour(size), edgecolor="0.3", label=f"{size}x{size}") for size in sizes]
    if any(block.kind == "fused" for row in rows for blocks in row.subnet.stages for block in blocks):
        keys.append(Patch(facecolor="white", edgecolor="0.3", hatch="///", label="fused"))
    keys.append(Patch(alpha=0, label=f"height: expand ratio, 1 to {most}"))
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=8, frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def stage_ms(latency: LatencyPrediction, stages: int) -> tuple[float, ...]:
    """What each stage of a backbone takes of a prediction for a layer plan, whose layers name it."""
    found = [0.0] * stages
    for layer in latency.layers:
        if layer.name.startswith(_STAGES):
            found[int(layer.name.removeprefix(_STAGES).partition(".")[0])] += layer.latency_ms
    return tuple(found)


def _draw_row(axes: Axes, row: DrawnSubnet, y: float, starts: Sequence[float], most: int) -> None:
    for start, blocks, ms in zip(starts, row.subnet.stages, stage_ms(row.latency, len(starts)), strict=True):
        for position, block in enumerate(blocks):
            axes.add_patch(_bar(block, start + position, y, most))
        axes.text(start, y - 0.05, f"{ms:.1f} ms", size=8, va="top", color="0.3")


def _bar(block: BlockConfig, x: float, y: float, most: int) -> Rectangle:
    hatch = "///" if block.kind == "fused" else None
    height = 0.66 * block.expand_ratio / most
    return Rectangle(
        (x, y), 0.86, height, facecolor=_colour(block.kernel_size), edgecolor="0.3", linewidth=0.6, hatch=hatch
    )


def _write_rest(axes: Axes, row: DrawnSubnet, y: float, x: float) -> None:
    """The parts of the latency that are no stage's."""
    latency = row.latency
    rest = latency.mean_ms - sum(stage_ms(latency, len(row.subnet.stages))) - latency.postprocessing_ms
    for column, ms in enumerate((rest, latency.postprocessing_ms)):
        axes.text(x + column * _REST, y + 0.2, f"{ms:.1f} ms", size=8, va="center", color="0.3")


def _write_heads(axes: Axes, space: SearchSpace, starts: Sequence[float], slots: Sequence[int], x: float) -> None:
    stride = space.backbone.stem.stride
    for start, count, stage in zip(starts, slots, space.stages, strict=True):
        stride *= stage.stride
        axes.text(start, 0.98, f"{stage.width} ch\n1/{stride}", size=8, va="center")
        axes.plot([start, start + count - 0.14], [0.76, 0.76], color="0.6", lw=0.8)
    for column, text in enumerate(("stem, neck,\nhead", "post-\nprocessing")):
        axes.text(x + column * _REST, 0.98, text, size=8, va="center")


def _colour(kernel_size: int) -> str:
    return _COLOURS.get(kernel_size, _LARGER)
