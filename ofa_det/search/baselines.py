"""Subnets that nobody has to search for: what a choice is to be compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.stages import StageSpec
from ofa_det.arch.subnet import BlockConfig, SubnetConfig
from ofa_det.search.costs import AT_MOST, MACS
from ofa_det.search.genes import FloatArray, Genes
from ofa_det.search.nsga2 import NsgaConfig, explore
from ofa_det.search.problem import SearchProblem

SMALLEST, LARGEST, UNIFORM, NEAREST = "smallest", "largest", "uniform", "nearest to {name}"

_SEARCH = NsgaConfig(population=100, generations=40)

_INTERPOLATED = 1.001
"""The table's latencies may be too high by as much."""

_Settings = Sequence[Sequence[tuple[int, float]]]
"""Of each block of each stage its kernel size, and its expansion over the width of its input."""

MOBILENET_V3: Final[Mapping[str, Mapping[int, _Settings]]] = MappingProxyType(
    {
        "MobileNetV3-Large": {  # Howard et al. 2019, table 1.
            2: [[(3, 1)]],
            4: [[(3, 4), (3, 3)]],
            8: [[(5, 3), (5, 3), (5, 3)]],
            16: [[(3, 6), (3, 2.5), (3, 2.3), (3, 2.3)], [(3, 6), (3, 6)]],
            32: [[(5, 6), (5, 6), (5, 6)]],
        },
        "MobileNetV3-Small": {  # Table 2.
            4: [[(3, 1)]],
            8: [[(3, 4.5), (3, 3.67)]],
            16: [[(5, 4), (5, 6), (5, 6)], [(5, 3), (5, 3)]],
            32: [[(5, 6), (5, 6), (5, 6)]],
        },
    }
)
"""By name and by stride of their output, the stages of published networks."""


def controls(problem: SearchProblem, *, seed: int) -> Mapping[float, SubnetConfig]:
    """By cap, the subnet of most multiply-accumulates that is found under it: no AP is needed to choose it."""
    coding = problem.coding
    start = coding.encode(problem.space.smallest(px) for px in problem.space.resolutions)

    def macs(genes: Genes, costs: FloatArray) -> FloatArray:
        return costs[:, MACS]

    visited = explore(problem, macs, start, config=_SEARCH, rng=np.random.default_rng(seed))
    found = {}
    for cap_ms in problem.caps_ms:
        under = np.flatnonzero((visited.costs[:, AT_MOST] <= cap_ms) & problem.kept(visited.costs, cap_ms))
        largest = under[np.argsort(-visited.costs[under, MACS], kind="stable")]
        subnets = (coding.decode(visited.genes[index : index + 1])[0] for index in largest)
        found[cap_ms] = _enlarged(problem, next(s for s in subnets if _keeps(problem, s, cap_ms)), cap_ms)
    return found


def baselines(problem: SearchProblem) -> Mapping[SubnetConfig, str]:
    """The smallest and the largest subnet, and some at the resolution in the middle.

    Those are the ones whose blocks are all alike, and the ones nearest to MobileNetV3.
    """
    space = problem.space
    px = space.resolutions[len(space.resolutions) // 2]
    found = {space.smallest(): SMALLEST, space.largest(): LARGEST}
    choices = max(max(len(s.depths), len(s.kernel_sizes), len(s.expand_ratios)) for s in space.stages)
    for position in range(choices):
        blocks = tuple(stage.uniform(position) for stage in space.stages)
        found.setdefault(SubnetConfig(resolution=px, stages=blocks), UNIFORM)
    for name in MOBILENET_V3:
        found.setdefault(nearest(space, name, px), NEAREST.format(name=name))
    return found


def nearest(space: SearchSpace, name: str, resolution: int) -> SubnetConfig:
    """The subnet with the depths, kernel sizes and expand ratios of a network of `MOBILENET_V3`, as near as there are.

    A stage is given the settings of the published one of its output stride, the first of a stride those of the first;
    one without counterpart is the smallest. Widths, activations and squeeze-excite are the space's own, and its ratios
    are whole numbers, so that few spaces hold more than a neighbour of the published network.
    """
    published, stride = MOBILENET_V3[name], space.backbone.stem.stride
    seen: dict[int, int] = {}
    stages = []
    for stage in space.stages:
        stride *= stage.stride
        settings, number = published.get(stride, ()), seen.get(stride, 0)
        seen[stride] = number + 1
        stages.append(_nearest_blocks(stage, settings[number]) if number < len(settings) else stage.uniform(0))
    return SubnetConfig(resolution=resolution, stages=tuple(stages))


def _nearest_blocks(stage: StageSpec, settings: Sequence[tuple[int, float]]) -> tuple[BlockConfig, ...]:
    """A stage of the nearest depth; further blocks are like the last."""
    depth = _closest(stage.depths, len(settings))
    taken = [settings[min(position, len(settings) - 1)] for position in range(depth)]
    return tuple(
        BlockConfig(
            kernel_size=_closest(stage.kernel_sizes, kernel_size),
            expand_ratio=_closest(stage.ratios(depth), expansion),
            kind=stage.kinds[0],
        )
        for kernel_size, expansion in taken
    )


def _closest(choices: Sequence[int], wanted: float) -> int:
    """The lower of two that are equally close."""
    return min(choices, key=lambda choice: (abs(choice - wanted), choice))


def _enlarged(problem: SearchProblem, subnet: SubnetConfig, cap_ms: float) -> SubnetConfig:
    """The end of single steps up, each to the most multiply-accumulates that still keep the cap."""
    while larger := sorted(problem.space.larger_neighbours(subnet)):
        costs = problem.table(problem.coding.encode(larger))
        order = np.argsort(-costs[:, MACS], kind="stable").tolist()
        promising = (larger[i] for i in order if costs[i, AT_MOST] <= cap_ms * _INTERPOLATED)
        better = next((s for s in promising if _keeps(problem, s, cap_ms)), None)
        if better is None or problem.costs(better).macs <= problem.costs(subnet).macs:
            return subnet
        subnet = better
    return subnet


def _keeps(problem: SearchProblem, subnet: SubnetConfig, cap_ms: float) -> bool:
    return problem.costs(subnet).at_most_ms <= cap_ms and problem.allows(subnet, cap_ms)
