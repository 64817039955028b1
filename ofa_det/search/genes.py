"""Subnets of a space as rows of small integers, so that tens of thousands are handled at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import BlockConfig, SubnetConfig

Genes = NDArray[np.int64]
"""(N, G) positions of choices in their lists; see `GeneCoding`."""

FloatArray = NDArray[np.float64]

GENES_PER_BLOCK: Final = 3  # Kernel size, expand ratio, kind.


@dataclass(frozen=True, kw_only=True)
class BlockSlot:
    """A place for a block that some subnets have.

    Args:
        stage: of the backbone.
        position: in the stage.
        first: column of its kernel size, which expand ratio and kind follow.
        depth: column of the depth of its stage.
        present: for each position in the list of depths, whether the block is there.
    """

    stage: int
    position: int
    first: int
    depth: int
    present: tuple[bool, ...]


class GeneCoding:
    """Translates subnets of a space to genes and back.

    A row holds the positions, in their lists of choices, of the resolution and then of each stage's depth and of each
    of its blocks' kernel size, expand ratio and kind. What a subnet does not have is 0: equal rows are equal subnets.

    Args:
        space: of the subnets.

    Attributes:
        sizes: (G,) choices of each gene.
        slots: places for blocks, in the order of the columns.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        sizes, slots = [len(space.resolutions)], []
        self._depths: list[int] = []
        for index, stage in enumerate(space.stages):
            depth = len(sizes)
            self._depths.append(depth)
            sizes.append(len(stage.depths))
            for position in range(stage.depths[-1]):
                present = tuple(count > position for count in stage.depths)
                slots.append(BlockSlot(stage=index, position=position, first=len(sizes), depth=depth, present=present))
                sizes += [len(stage.kernel_sizes), len(stage.expand_ratios), len(stage.kinds)]
        self.sizes = np.array(sizes)
        self.slots: Sequence[BlockSlot] = slots

    def encode(self, subnets: Iterable[SubnetConfig]) -> Genes:
        """(N, G) genes of subnets of the space."""
        return np.array([self._row(subnet) for subnet in subnets], np.int64).reshape(-1, len(self.sizes))

    def decode(self, genes: Genes) -> list[SubnetConfig]:
        """The subnets of canonical (N, G) genes."""
        return [self._subnet(row) for row in genes.tolist()]

    def canonical(self, genes: Genes) -> Genes:
        """The same subnets with what they do not have at 0, and the ratios of coupled stages as their depth says."""
        genes = genes.copy()
        for slot in self.slots:
            columns = slice(slot.first, slot.first + GENES_PER_BLOCK)
            if self.space.stages[slot.stage].coupled:
                genes[:, slot.first + 1] = genes[:, slot.depth]
            genes[~self.presence(genes, slot), columns] = 0
        return genes

    def presence(self, genes: Genes, slot: BlockSlot) -> NDArray[np.bool_]:
        """(N,) which subnets have a block there."""
        return np.array(slot.present)[genes[:, slot.depth]]

    def sample(self, rng: np.random.Generator, count: int) -> Genes:
        """(count, G) subnets with every choice drawn uniformly."""
        return self.canonical(rng.integers(0, self.sizes, (count, len(self.sizes))))

    def features(self, genes: Genes) -> FloatArray:
        """(N, F) what a predictor sees of the choices.

        One column for each resolution but the first, and for each block: whether it is there, and how far up its
        kernel size, expand ratio and kind are in their lists, from 0 to 1. Columns that no choice changes are left out.
        """
        columns: list[FloatArray] = [(genes[:, 0] == index).astype(float) for index in range(1, int(self.sizes[0]))]
        for slot in self.slots:
            if not all(slot.present):
                columns.append(self.presence(genes, slot).astype(float))
            for gene in range(slot.first, slot.first + GENES_PER_BLOCK):
                if self.sizes[gene] > 1:
                    columns.append(genes[:, gene] / (self.sizes[gene] - 1))
        return np.stack(columns, axis=1) if columns else np.zeros((len(genes), 0))

    def shares(self, genes: Genes) -> FloatArray:
        """(N, F) of a subnet's blocks, the share that has a kernel size, an expand ratio or a kind.

        A column for each of those but the first; columns that no choice changes are left out.
        """
        blocks = np.zeros(len(genes))
        for stage, depth in zip(self.space.stages, self._depths, strict=True):
            blocks += np.array(stage.depths)[genes[:, depth]]
        # What a subnet does not have is 0, which is no position that is looked for.
        columns = [
            sum((genes[:, where] == position).sum(axis=1) for position, where in places.items()) / blocks
            for places in self._places
        ]
        return np.stack(columns, axis=1) if columns else np.zeros((len(genes), 0))

    @cached_property
    def _places(self) -> Sequence[Mapping[int, Sequence[int]]]:
        """Of each kernel size, ratio and kind but the first: by position in their list, columns that may have it."""
        found: dict[tuple[int, str], dict[int, list[int]]] = {}
        for slot in self.slots:
            stage = self.space.stages[slot.stage]
            for gene, choices in enumerate((stage.kernel_sizes, stage.expand_ratios, stage.kinds)):
                for position, choice in enumerate(choices[1:], start=1):
                    places = found.setdefault((gene, str(choice)), {})
                    places.setdefault(position, []).append(slot.first + gene)
        return [places for _, places in sorted(found.items())]

    def _row(self, subnet: SubnetConfig) -> list[int]:
        row = [self.space.resolutions.index(subnet.resolution)]
        for stage, blocks in zip(self.space.stages, subnet.stages, strict=True):
            row.append(stage.depths.index(len(blocks)))
            for block in blocks:
                row += [
                    stage.kernel_sizes.index(block.kernel_size),
                    stage.expand_ratios.index(block.expand_ratio),
                    stage.kinds.index(block.kind),
                ]
            row += [0] * (GENES_PER_BLOCK * (stage.depths[-1] - len(blocks)))
        return row

    def _subnet(self, row: Sequence[int]) -> SubnetConfig:
        stages = []
        for stage, depth in zip(self.space.stages, self._depths, strict=True):
            firsts = range(depth + 1, depth + 1 + GENES_PER_BLOCK * stage.depths[row[depth]], GENES_PER_BLOCK)
            stages.append(
                tuple(
                    BlockConfig(
                        kernel_size=stage.kernel_sizes[row[first]],
                        expand_ratio=stage.expand_ratios[row[first + 1]],
                        kind=stage.kinds[row[first + 2]],
                    )
                    for first in firsts
                )
            )
        return SubnetConfig(resolution=self.space.resolutions[row[0]], stages=tuple(stages))
