"""The subnet of most work under each cap, in several spaces: a table, a picture a space, and where the time goes.

No AP takes part: it is what a search compares its choice with. The search's own choice under the same caps is in the
`architectures.png` that `search_det.py` writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ofa_det.arch.description import ModelDescription
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.model_file import read_description
from ofa_det.latency.calibrated_range import sort_of
from ofa_det.latency.latencies import LatencyPrediction, Precision
from ofa_det.latency.model import LatencyModel, latency_model, shipped_work
from ofa_det.search.baselines import controls
from ofa_det.search.costs import Costs, exact_costs
from ofa_det.search.drawing import DrawnSubnet, architectures_plot, stage_ms
from ofa_det.search.problem import SearchProblem


@dataclass(frozen=True, kw_only=True)
class CapsConfig:
    """Subnets under caps.

    Args:
        spaces: search spaces, YAML files or names in configs/spaces, or run folders of supernets, with their classes,
            anchors and post-processing.
        latency_cap_ms: the caps, in ms.
        num_classes: of a space.
        anchors_per_cell: of a space: the first ones that SSDLite has there.
        safety: standard errors by which each subnet stays below its cap.
        device: phone.
        precision: of the network on it.
        runtime: of the phone; by default its usual one.
        output: folder of the pictures.
    """

    spaces: tuple[str, ...] = ("ofa_mbv3_w1.0", "efficientnet_lite0", "dsp")
    latency_cap_ms: tuple[float, ...] = (30.0, 60.0, 100.0)
    num_classes: int = 80
    anchors_per_cell: int = 1
    safety: float = 1.0
    device: str = "pixel2"
    precision: Precision = "uint8"
    runtime: str | None = None
    output: str = "runs/benchmark_caps"

    def __post_init__(self) -> None:
        if not self.spaces or not self.latency_cap_ms:
            raise ValueError("expected spaces and caps, found none")
        for name in ("num_classes", "anchors_per_cell"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, found {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class UnderCap:
    """The largest subnet under one cap.

    Args:
        cap_ms: the cap.
        subnet: of most multiply-accumulates; where none keeps the cap, the one of least latency.
        keeps: whether it keeps the cap.
        costs: of it.
        latency: predicted.
        sorts: of its layers, ms and millions of multiply-accumulates.
    """

    cap_ms: float
    subnet: SubnetConfig
    keeps: bool
    costs: Costs
    latency: LatencyPrediction
    sorts: dict[str, tuple[float, float]]


def caps(config: CapsConfig) -> None:
    """Prints the table and writes the pictures."""
    model = latency_model(config.device, precision=config.precision, runtime=config.runtime)
    found = {name: under_caps(_description(name, config), model, config) for name in config.spaces}
    print(f"{model.device}, {model.precision}, {model.runtime}; {config.safety:g} standard error(s) below the cap\n")
    print(
        "| space | cap, ms | px | blocks | mean kernel | mean ratio | MMACs | ms ± | at most | stages | rest | post |"
    )
    print("|---" * 12 + "|")
    for name, rows in found.items():
        print("\n".join(_table_row(name, row) for row in rows))
    print("\nms, and ms per million multiply-accumulates, of the sorts of layers under the largest cap:")
    for name, rows in found.items():
        sorts = sorted(rows[-1].sorts.items(), key=lambda item: -item[1][0])
        told = (f"{sort} {ms:.1f}" + (f" ({ms / macs:.3f})" if macs else "") for sort, (ms, macs) in sorts[:7])
        print(f"  {name}: {', '.join(told)}")
    for name, rows in found.items():
        path = Path(config.output) / f"caps_{Path(name).stem if name.endswith('.yaml') else Path(name).name}.png"
        space = _description(name, config).detector.space
        drawn = [DrawnSubnet(title=_title(row), subnet=row.subnet, latency=row.latency) for row in rows]
        title = f"{name}: most multiply-accumulates under each cap ({model.device}, {model.precision})"
        write_atomically(path, architectures_plot(space, drawn, title=title))
        print(f"wrote {path}")


def under_caps(description: ModelDescription, model: LatencyModel, config: CapsConfig) -> list[UnderCap]:
    """For each cap, ascending, the largest subnet of a supernet."""
    space, of = description.detector.space, exact_costs(description, model, safety=config.safety)
    fastest = min((space.smallest(px) for px in space.resolutions), key=lambda subnet: of(subnet).at_most_ms)
    wanted = tuple(sorted(set(config.latency_cap_ms)))
    kept = tuple(cap_ms for cap_ms in wanted if cap_ms >= of(fastest).at_most_ms)
    largest = controls(SearchProblem(space=space, costs_of=of, caps_ms=kept), seed=0) if kept else {}
    return [
        _under(largest.get(cap_ms, fastest), cap_ms, cap_ms in kept, description, model, config) for cap_ms in wanted
    ]


def _under(
    subnet: SubnetConfig,
    cap_ms: float,
    keeps: bool,
    description: ModelDescription,
    model: LatencyModel,
    config: CapsConfig,
) -> UnderCap:
    plan, tail = shipped_work(description, subnet, precision=model.precision)
    latency = model.predict(plan.layers, tail)
    sorts: dict[str, tuple[float, float]] = {}
    for layer, part in zip(plan.layers, latency.layers, strict=False):  # Ops behind the layers follow.
        ms, macs = sorts.get(sort_of(layer), (0.0, 0.0))
        sorts[sort_of(layer)] = (ms + part.latency_ms, macs + layer.macs / 1e6)
    costs = exact_costs(description, model, safety=config.safety)(subnet)
    return UnderCap(cap_ms=cap_ms, subnet=subnet, keeps=keeps, costs=costs, latency=latency, sorts=sorts)


def _description(name: str, config: CapsConfig) -> ModelDescription:
    if Path(name).is_dir():
        return read_description(name)
    space = read_space(name)
    anchors = space.own_anchors or tuple(level[: config.anchors_per_cell] for level in space.stock_anchors())
    return ModelDescription.assumed(space, num_classes=config.num_classes, anchor_sizes=anchors)


def _title(row: UnderCap) -> str:
    head = f"{row.cap_ms:g} ms" if row.keeps else f"{row.cap_ms:g} ms: none, the smallest"
    return f"{head}\n{row.subnet.resolution} px, {row.costs.macs / 1e6:.0f} MMACs\n{row.latency}"


def _table_row(name: str, row: UnderCap) -> str:
    blocks = [block for stage in row.subnet.stages for block in stage]
    stages = sum(stage_ms(row.latency, len(row.subnet.stages)))
    rest = row.latency.mean_ms - stages - row.latency.postprocessing_ms
    cells = [
        name,
        f"{row.cap_ms:g}" if row.keeps else f"{row.cap_ms:g}, kept by none",
        str(row.subnet.resolution),
        str(len(blocks)),
        f"{_mean([block.kernel_size for block in blocks]):.1f}",
        f"{_mean([block.expand_ratio for block in blocks]):.1f}",
        f"{row.costs.macs / 1e6:.0f}",
        f"{row.latency.mean_ms:.1f} ± {row.latency.error_ms:.1f}",
        *(f"{ms:.1f}" for ms in (row.costs.at_most_ms, stages, rest, row.latency.postprocessing_ms)),
    ]
    return f"| {' | '.join(cells)} |"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
