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

MOST_BLOCKS = 100
"""Of a stage; a space comes from a file, and a number in it must not fill the memory."""


@dataclass(frozen=True, kw_only=True)
class OpenChoices:
    """How many choices of each stage are open, the largest of its list; without a number all of them.

    Args:
        kernel_choices: kernel sizes of a block; 1 leaves the largest alone.
        depth_choices: depths of a stage.
        expansion_choices: expand ratios of a block.
        kind_choices: kinds of a block.
    """

    kernel_choices: int | None = None
    depth_choices: int | None = None
    expansion_choices: int | None = None
    kind_choices: int | None = None

    def __post_init__(self) -> None:
        for name in ("kernel_choices", "depth_choices", "expansion_choices", "kind_choices"):
            if (count := getattr(self, name)) is not None and count < 1:
                raise ValueError(f"expected {name} >= 1, the largest alone, or null for all, found {count}")


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
        coupled: whether depth and expansion are one choice, the i-th ratio for all blocks of the i-th depth (CompOFA,
            section 3); kernels and kinds stay free.
    """

    width: int
    activation: Activation
    depths: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    expand_ratios: tuple[int, ...]
    stride: int = 1
    squeeze_excite: bool = False
    kinds: tuple[BlockKind, ...] = ("inverted",)
    coupled: bool = False

    def __post_init__(self) -> None:
        for name in ("depths", "kernel_sizes", "expand_ratios"):
            check_choices(name, getattr(self, name))
        if self.depths[-1] > MOST_BLOCKS:
            raise ValueError(f"expected depths of up to {MOST_BLOCKS} blocks, found {list(self.depths)}")
        if any(size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError(f"expected odd kernel_sizes, found {list(self.kernel_sizes)}")
        if not self.kinds or len(set(self.kinds)) != len(self.kinds):
            raise ValueError(f"expected distinct kinds of blocks, found {list(self.kinds)}")
        if self.coupled and len(self.depths) != len(self.expand_ratios):
            raise ValueError(
                f"expected as many depths as expand_ratios in a coupled stage, found {list(self.depths)} and "
                f"{list(self.expand_ratios)}; give each depth its ratio, or leave out coupled"
            )
        if self.width < 1 or self.stride < 1:
            raise ValueError(f"expected a width and a stride of at least 1, found {self.width} and {self.stride}")

    def __contains__(self, blocks: object) -> bool:
        return (
            isinstance(blocks, tuple)
            and len(blocks) in self.depths
            and all(
                block.kernel_size in self.kernel_sizes
                and block.expand_ratio in self.ratios(len(blocks))
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
        choices = len(self.kernel_sizes) * len(self.kinds)
        return sum(int((choices * len(self.ratios(depth))) ** depth) for depth in self.depths)

    def restricted(self, to: OpenChoices) -> StageSpec:
        """The stage with the open ones of its choices; the pairs of a coupled stage are open as both halves are."""
        depths, ratios = to.depth_choices, to.expansion_choices
        if self.coupled:
            depths = ratios = min((count for count in (depths, ratios) if count is not None), default=None)
        return replace(
            self,
            kernel_sizes=_largest(self.kernel_sizes, to.kernel_choices),
            depths=_largest(self.depths, depths),
            expand_ratios=_largest(self.expand_ratios, ratios),
            kinds=_largest(self.kinds, to.kind_choices),
        )

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

    def alike(self, kernel: int, ratio: int, kind: int) -> Blocks:
        """The most blocks that may be of these positions in the lists of choices."""
        depth = _at(self.depths, ratio) if self.coupled else self.depths[-1]
        return (self.block(kernel, ratio, kind),) * depth

    def sample(self, rng: random.Random) -> Blocks:
        """Every choice drawn uniformly."""
        depth = draw_choice(self.depths, rng)
        return tuple(self._sample_block(depth, rng) for _ in range(depth))

    def mutate(self, blocks: Blocks, rng: random.Random, probability: float) -> Blocks:
        """Redraws each choice with the given probability; blocks that a deeper stage adds are drawn."""
        depth = maybe_redraw(len(blocks), self.depths, rng, probability)
        ratios = self.ratios(depth)
        kept = tuple(
            BlockConfig(
                kernel_size=maybe_redraw(block.kernel_size, self.kernel_sizes, rng, probability),
                expand_ratio=ratios[0] if self.coupled else maybe_redraw(block.expand_ratio, ratios, rng, probability),
                kind=maybe_redraw(block.kind, self.kinds, rng, probability),
            )
            for block in blocks[:depth]
        )
        return kept + tuple(self._sample_block(depth, rng) for _ in range(depth - len(kept)))

    def crossover(self, first: Blocks, second: Blocks, rng: random.Random) -> Blocks:
        """Takes each choice from one parent or the other; a block only one parent has comes from that one."""
        if self.is_fixed:
            return first
        depth = len(rng.choice((first, second)))
        blocks = tuple(rng.choice([p[i] for p in (first, second) if i < len(p)]) for i in range(depth))
        return self._coupled(blocks)

    def larger(self, blocks: Blocks) -> Iterator[Blocks]:
        """Every stage that is one choice above this one; an added block is the smallest."""
        if (depth := _next(self.depths, len(blocks))) is not None:
            yield self._coupled(blocks + (self.block(0, 0, 0),) * (depth - len(blocks)))
        for position, block in enumerate(blocks):
            before, after = blocks[:position], blocks[position + 1 :]
            if (kernel := _next(self.kernel_sizes, block.kernel_size)) is not None:
                yield (*before, replace(block, kernel_size=kernel), *after)
            if (ratio := _next(self.ratios(len(blocks)), block.expand_ratio)) is not None:
                yield (*before, replace(block, expand_ratio=ratio), *after)
            if (kind := self.kinds.index(block.kind) + 1) < len(self.kinds):
                yield (*before, replace(block, kind=self.kinds[kind]), *after)

    def ratios(self, depth: int) -> tuple[int, ...]:
        """The ratios that a block may have in a stage of this depth."""
        return (self.expand_ratios[self.depths.index(depth)],) if self.coupled else self.expand_ratios

    def _coupled(self, blocks: Blocks) -> Blocks:
        """The blocks, in a coupled stage with the ratio of their number."""
        if not self.coupled:
            return blocks
        (ratio,) = self.ratios(len(blocks))
        return tuple(replace(block, expand_ratio=ratio) for block in blocks)

    def _sample_block(self, depth: int, rng: random.Random) -> BlockConfig:
        return BlockConfig(
            kernel_size=draw_choice(self.kernel_sizes, rng),
            expand_ratio=draw_choice(self.ratios(depth), rng),
            kind=draw_choice(self.kinds, rng),
        )


def check_choices(name: str, choices: tuple[int, ...]) -> None:
    """Refuses numbers that are not positive, distinct and ascending."""
    if not choices or list(choices) != sorted(set(choices)) or choices[0] < 1:
        raise ValueError(f"expected {name} to be positive, distinct and ascending, found {list(choices)}")


def _at(choices: Sequence[T], position: int) -> T:
    return choices[min(position, len(choices) - 1)]


def _largest(choices: tuple[T, ...], count: int | None) -> tuple[T, ...]:
    """So many of the choices, or all."""
    return choices if count is None else choices[-count:]


def draw_choice(choices: Sequence[T], rng: random.Random) -> T:
    """A uniform choice; one without alternative takes nothing from the random state."""
    return choices[0] if len(choices) == 1 else rng.choice(choices)


def maybe_redraw(current: T, choices: Sequence[T], rng: random.Random, probability: float) -> T:
    """The current choice, or with the given probability a uniform one."""
    return rng.choice(choices) if len(choices) > 1 and rng.random() < probability else current


def _next(choices: tuple[int, ...], current: int) -> int | None:
    return next((choice for choice in choices if choice > current), None)
