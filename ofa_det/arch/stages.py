"""A stage of a backbone with its choices."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ofa_det.arch.layers import Activation
from ofa_det.arch.subnet import BlockConfig, BlockKind

T = TypeVar("T")
Blocks = tuple[BlockConfig, ...]


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """Blocks of one width, of which the first has the stride, and the choices they have.

    Args:
        width: output channels of each block.
        stride: of the first block.
        activation: behind expansion and spatial convolution.
        squeeze_excite: whether each block has a channel gate (MobileNetV3, section 5.3).
        depths: numbers of blocks that the stage may have, ascending.
        kernel_sizes: odd sizes that a block may have, ascending.
        expand_ratios: ratios that a block may have, ascending.
        kinds: kinds that a block may have, the cheapest first.
    """

    width: int
    activation: Activation
    depths: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    expand_ratios: tuple[int, ...]
    stride: int = 1
    squeeze_excite: bool = False
    kinds: tuple[BlockKind, ...] = ("inverted",)

    def __post_init__(self) -> None:
        for name in ("depths", "kernel_sizes", "expand_ratios"):
            check_choices(name, getattr(self, name))
        if any(size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError(f"expected odd kernel_sizes, found {list(self.kernel_sizes)}")
        if not self.kinds or len(set(self.kinds)) != len(self.kinds):
            raise ValueError(f"expected distinct kinds of blocks, found {list(self.kinds)}")
        if self.width < 1 or self.stride < 1:
            raise ValueError(f"expected a width and a stride of at least 1, found {self.width} and {self.stride}")

    def __contains__(self, blocks: object) -> bool:
        return (
            isinstance(blocks, tuple)
            and len(blocks) in self.depths
            and all(
                block.kernel_size in self.kernel_sizes
                and block.expand_ratio in self.expand_ratios
                and block.kind in self.kinds
                for block in blocks
            )
        )

    @property
    def is_fixed(self) -> bool:
        """Whether there is nothing to choose."""
        return self.count() == 1

    def count(self) -> int:
        """How many stages the choices allow."""
        choices = len(self.kernel_sizes) * len(self.expand_ratios) * len(self.kinds)
        return sum(int(choices**depth) for depth in self.depths)

    def uniform(self, position: int) -> Blocks:
        """Every choice at the same position of its list, the last where a list is shorter."""
        block = self.block(position, position, position)
        return (block,) * _at(self.depths, position)

    def block(self, kernel: int, ratio: int, kind: int) -> BlockConfig:
        """The block of these positions in the lists of choices; the last where a list is shorter."""
        return BlockConfig(
            kernel_size=_at(self.kernel_sizes, kernel),
            expand_ratio=_at(self.expand_ratios, ratio),
            kind=_at(self.kinds, kind),
        )

    def sample(self, rng: random.Random) -> Blocks:
        """Every choice drawn uniformly."""
        return tuple(self._sample_block(rng) for _ in range(draw_choice(self.depths, rng)))

    def mutate(self, blocks: Blocks, rng: random.Random, probability: float) -> Blocks:
        """Redraws each choice with the given probability; blocks that a deeper stage adds are drawn."""
        depth = maybe_redraw(len(blocks), self.depths, rng, probability)
        kept = tuple(
            BlockConfig(
                kernel_size=maybe_redraw(block.kernel_size, self.kernel_sizes, rng, probability),
                expand_ratio=maybe_redraw(block.expand_ratio, self.expand_ratios, rng, probability),
                kind=maybe_redraw(block.kind, self.kinds, rng, probability),
            )
            for block in blocks[:depth]
        )
        return kept + tuple(self._sample_block(rng) for _ in range(depth - len(kept)))

    def crossover(self, first: Blocks, second: Blocks, rng: random.Random) -> Blocks:
        """Takes each choice from one parent or the other; a block only one parent has comes from that one."""
        if self.is_fixed:
            return first
        depth = len(rng.choice((first, second)))
        return tuple(rng.choice([p[i] for p in (first, second) if i < len(p)]) for i in range(depth))

    def larger(self, blocks: Blocks) -> Iterator[Blocks]:
        """Every stage that is one choice above this one; an added block is the smallest."""
        if (depth := _next(self.depths, len(blocks))) is not None:
            yield blocks + (self.block(0, 0, 0),) * (depth - len(blocks))
        for position, block in enumerate(blocks):
            before, after = blocks[:position], blocks[position + 1 :]
            if (kernel := _next(self.kernel_sizes, block.kernel_size)) is not None:
                yield (*before, replace(block, kernel_size=kernel), *after)
            if (ratio := _next(self.expand_ratios, block.expand_ratio)) is not None:
                yield (*before, replace(block, expand_ratio=ratio), *after)
            if (kind := self.kinds.index(block.kind) + 1) < len(self.kinds):
                yield (*before, replace(block, kind=self.kinds[kind]), *after)

    def _sample_block(self, rng: random.Random) -> BlockConfig:
        return BlockConfig(
            kernel_size=draw_choice(self.kernel_sizes, rng),
            expand_ratio=draw_choice(self.expand_ratios, rng),
            kind=draw_choice(self.kinds, rng),
        )


def check_choices(name: str, choices: tuple[int, ...]) -> None:
    """Refuses numbers that are not positive, distinct and ascending."""
    if not choices or list(choices) != sorted(set(choices)) or choices[0] < 1:
        raise ValueError(f"expected {name} to be positive, distinct and ascending, found {list(choices)}")


def _at(choices: Sequence[T], position: int) -> T:
    return choices[min(position, len(choices) - 1)]


def draw_choice(choices: Sequence[T], rng: random.Random) -> T:
    """A uniform choice; one without alternative takes nothing from the random state."""
    return choices[0] if len(choices) == 1 else rng.choice(choices)


def maybe_redraw(current: T, choices: Sequence[T], rng: random.Random, probability: float) -> T:
    """The current choice, or with the given probability a uniform one."""
    return rng.choice(choices) if len(choices) > 1 and rng.random() < probability else current


def _next(choices: tuple[int, ...], current: int) -> int | None:
    return next((choice for choice in choices if choice > current), None)
