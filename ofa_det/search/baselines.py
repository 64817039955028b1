"""Subnets that nobody has to search for: what a choice is to be compared with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.search.genes import FloatArray, Genes
from ofa_det.search.nsga2 import NsgaConfig, explore
from ofa_det.search.problem import SearchProblem

SMALLEST, LARGEST, UNIFORM = "smallest", "largest", "uniform"

_SEARCH = NsgaConfig(population=100, generations=40)


def controls(problem: SearchProblem, *, seed: int) -> Mapping[float, SubnetConfig]:
    """By cap, the subnet of most multiply-accumulates that is found under it: no AP is needed to choose it."""
    coding = problem.coding
    start = coding.encode(problem.space.smallest(px) for px in problem.space.resolutions)

    def macs(genes: Genes, costs: FloatArray) -> FloatArray:
        return costs[:, 2]

    visited = explore(problem, macs, start, config=_SEARCH, rng=np.random.default_rng(seed))
    found = {}
    for cap_ms in problem.caps_ms:
        under = np.flatnonzero((visited.costs[:, 1] <= cap_ms) & problem.kept(visited.costs, cap_ms))
        largest = under[np.argsort(-visited.costs[under, 2], kind="stable")]
        subnets = (coding.decode(visited.genes[index : index + 1])[0] for index in largest)
        found[cap_ms] = _enlarged(problem, next(s for s in subnets if _keeps(problem, s, cap_ms)), cap_ms)
    return found


def baselines(problem: SearchProblem) -> Mapping[SubnetConfig, str]:
    """The smallest and the largest subnet, and at the resolution in the middle those whose blocks are all alike."""
    space = problem.space
    px = space.resolutions[len(space.resolutions) // 2]
    found = {space.smallest(): SMALLEST, space.largest(): LARGEST}
    choices = max(max(len(s.depths), len(s.kernel_sizes), len(s.expand_ratios)) for s in space.stages)
    for position in range(choices):
        blocks = tuple(stage.uniform(position) for stage in space.stages)
        found.setdefault(SubnetConfig(resolution=px, stages=blocks), UNIFORM)
    return found


def _enlarged(problem: SearchProblem, subnet: SubnetConfig, cap_ms: float) -> SubnetConfig:
    """The end of single steps up, each to the most multiply-accumulates that still keep the cap."""
    while True:
        larger = [s for s in problem.space.larger_neighbours(subnet) if _keeps(problem, s, cap_ms)]
        better = max(larger, key=lambda s: (problem.costs(s).macs, s), default=subnet)
        if problem.costs(better).macs <= problem.costs(subnet).macs:
            return subnet
        subnet = better


def _keeps(problem: SearchProblem, subnet: SubnetConfig, cap_ms: float) -> bool:
    return problem.costs(subnet).at_most_ms <= cap_ms and problem.allows(subnet, cap_ms)
