"""What a subnet costs: exactly, from its plan, and of tens of thousands at once, from a table of blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from ofa_det.arch.classes import ClassNumbering
from ofa_det.arch.description import ModelDescription
from ofa_det.arch.space import SearchSpace
from ofa_det.arch.stages import Blocks, StageSpec
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.latency.model import LatencyModel, shipped_work
from ofa_det.search.file_size import int8_file_bytes
from ofa_det.search.genes import FloatArray, GeneCoding, Genes


class Costs(NamedTuple):
    """Of one subnet.

    Args:
        latency_ms: expected latency.
        at_most_ms: what the cap is compared with: the expected latency and so many standard errors.
        macs: multiply-accumulates of one image.
        parameters: of the file.
        file_bytes: predicted size of the file.
    """

    latency_ms: float
    at_most_ms: float
    macs: float
    parameters: float
    file_bytes: float


LATENCY, AT_MOST, MACS, PARAMETERS, _ = range(len(Costs._fields))
"""Columns of a table of costs, a row a subnet: the fields of `Costs`."""

LIMITED: Final = slice(MACS, None)
"""The columns that limits are of."""

_PATH_POINTS: Final = 16

CostsOf = Callable[[SubnetConfig], Costs]
"""The exact costs of a subnet."""


def exact_costs(
    description: ModelDescription,
    model: LatencyModel,
    *,
    safety: float,
    numbering: ClassNumbering = "competition",
) -> CostsOf:
    """What gives the costs of the file that a subnet becomes, post-processing included.

    Args:
        description: of the supernet.
        model: of the phone.
        safety: standard errors between the expected latency and the one that caps are compared with.
        numbering: of the file's classes.
    """

    def of(subnet: SubnetConfig) -> Costs:
        plan, tail = shipped_work(description, subnet, precision=model.precision, numbering=numbering)
        estimate = model.estimate(plan.layers, tail)
        return Costs(
            latency_ms=estimate.mean_ms,
            at_most_ms=estimate.at_most_ms(safety),
            macs=plan.macs,
            parameters=plan.parameters,
            file_bytes=int8_file_bytes(plan),
        )

    return of


class CostTable:
    """Costs of whole populations as sums over blocks; made from differences of exact costs, at each resolution once.

    Latency, multiply-accumulates, parameters and bytes of a layer follow from one block's choices and the resolution,
    so the sums are exact. `at_most_ms` is no sum: its margin over the expected latency, a convex function of it, is
    interpolated, at most 0.1 % too high. What a search asks for is checked by the exact costs.

    Args:
        coding: of the subnets.
        costs_of: exact costs.
    """

    def __init__(self, coding: GeneCoding, costs_of: CostsOf) -> None:
        self._coding = coding
        self._costs_of = costs_of
        self._tables: dict[int, _Table] = {}

    def __call__(self, genes: Genes) -> FloatArray:
        """(N, 5) the fields of `Costs` of canonical genes."""
        found = np.empty((len(genes), len(Costs._fields)))
        for resolution in np.unique(genes[:, 0]).tolist():
            if resolution not in self._tables:
                self._tables[resolution] = _Table(self._coding, self._costs_of, resolution)
            rows = genes[:, 0] == resolution
            found[rows] = self._tables[resolution].costs(genes[rows])
        return found


class _Table:
    """The table of one resolution."""

    def __init__(self, coding: GeneCoding, costs_of: CostsOf, resolution: int) -> None:
        self._coding = coding
        space = coding.space
        px = space.resolutions[resolution]
        smallest = space.smallest(px)
        self._smallest = np.array(costs_of(smallest))

        def added(stage: int, blocks: Blocks, to: FloatArray) -> FloatArray:
            stages = (*smallest.stages[:stage], blocks, *smallest.stages[stage + 1 :])
            return np.array(costs_of(replace(smallest, stages=stages))) - to

        self._of_depth: list[FloatArray] = []
        self._of_block: list[FloatArray] = []
        for index, stage in enumerate(space.stages):
            plain = [_plain(stage, depth) for depth in range(len(stage.depths))]
            of_depth = np.stack([added(index, blocks, self._smallest) for blocks in plain])
            self._of_depth.append(of_depth)
            for position in range(stage.depths[-1]):
                shape = (len(stage.kernel_sizes), len(stage.expand_ratios), len(stage.kinds))
                table = np.zeros((*shape, len(Costs._fields)))
                for kernel, ratio, kind in np.ndindex(shape):
                    depth = ratio if stage.coupled else len(stage.depths) - 1
                    blocks = plain[depth]
                    if position < len(blocks):
                        block = stage.block(kernel, ratio, kind)
                        if block != blocks[position]:
                            changed = (*blocks[:position], block, *blocks[position + 1 :])
                            table[kernel, ratio, kind] = added(index, changed, self._smallest + of_depth[depth])
                self._of_block.append(table)
        path = sorted(costs_of(subnet) for subnet in _path(space, px))  # By latency.
        self._latencies = np.array([costs.latency_ms for costs in path])
        self._margins = np.array([costs.at_most_ms - costs.latency_ms for costs in path])

    def costs(self, genes: Genes) -> FloatArray:
        """(N, 5) of genes of this resolution."""
        total = np.repeat(self._smallest[None], len(genes), axis=0)
        depths = sorted({slot.depth for slot in self._coding.slots})
        for column, table in zip(depths, self._of_depth, strict=True):
            total += table[genes[:, column]]
        for slot, table in zip(self._coding.slots, self._of_block, strict=True):
            kernel, ratio, kind = genes[:, slot.first : slot.first + 3].T
            part = table[kernel, ratio, kind]
            total += part if all(slot.present) else part * self._coding.presence(genes, slot)[:, None]
        total[:, AT_MOST] = total[:, LATENCY] + np.interp(total[:, LATENCY], self._latencies, self._margins)
        return total


def _plain(stage: StageSpec, depth: int) -> Blocks:
    """So many of the smallest blocks that a stage of this position in the list of depths may have."""
    return (stage.block(0, depth if stage.coupled else 0, 0),) * stage.depths[depth]


def _path(space: SearchSpace, resolution: int) -> list[SubnetConfig]:
    """Single steps from the smallest to the largest, of which some: spread over the latencies between."""
    path = [space.smallest(resolution)]
    while neighbours := space.larger_neighbours(path[-1]):
        path.append(neighbours[len(path) % len(neighbours)])
    stride = max(1, len(path) // _PATH_POINTS)
    return [*path[:-1:stride], path[-1]]
