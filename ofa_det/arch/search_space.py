"""The set of subnets that one supernet holds."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ofa_det.arch.subnet import BlockConfig, SubnetConfig

NUM_STAGES = 5


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Independent choices of resolution, depth, expansion and kernel (Once-for-All, section 3.2).

    Args:
        resolutions: sides of the square input, in pixels.
        depths: numbers of blocks a stage may have.
        expand_ratios: expansion ratios a block may have.
        kernel_sizes: depthwise kernel sizes a block may have; odd.
    """

    resolutions: tuple[int, ...] = (192, 224, 256, 288, 320)
    depths: tuple[int, ...] = (2, 3, 4)
    expand_ratios: tuple[int, ...] = (3, 4, 6)
    kernel_sizes: tuple[int, ...] = (3, 5, 7)

    def __post_init__(self) -> None:
        for name in ("resolutions", "depths", "expand_ratios", "kernel_sizes"):
            choices = getattr(self, name)
            if not choices or list(choices) != sorted(set(choices)) or choices[0] < 1:
                raise ValueError(f"expected {name} to be positive, distinct and ascending, found {list(choices)}")
        if any(size % 2 == 0 for size in self.kernel_sizes):
            raise ValueError(f"expected odd kernel_sizes, found {list(self.kernel_sizes)}")

    def __contains__(self, subnet: object) -> bool:
        return (
            isinstance(subnet, SubnetConfig)
            and subnet.resolution in self.resolutions
            and len(subnet.stages) == NUM_STAGES
            and all(len(blocks) in self.depths for blocks in subnet.stages)
            and all(
                block.kernel_size in self.kernel_sizes and block.expand_ratio in self.expand_ratios
                for blocks in subnet.stages
                for block in blocks
            )
        )

    def count(self) -> int:
        """How many subnets the space holds."""
        block_choices = len(self.kernel_sizes) * len(self.expand_ratios)
        stage_choices: int = sum(block_choices**depth for depth in self.depths)
        return int(len(self.resolutions) * stage_choices**NUM_STAGES)

    def largest(self, resolution: int | None = None) -> SubnetConfig:
        """The subnet with every choice at its maximum; `resolution` overrides that one."""
        return self._uniform(
            resolution or self.resolutions[-1], self.depths[-1], self.kernel_sizes[-1], self.expand_ratios[-1]
        )

    def smallest(self, resolution: int | None = None) -> SubnetConfig:
        """The subnet with every choice at its minimum; `resolution` overrides that one."""
        return self._uniform(
            resolution or self.resolutions[0], self.depths[0], self.kernel_sizes[0], self.expand_ratios[0]
        )

    def sample(self, rng: random.Random, resolution: int | None = None) -> SubnetConfig:
        """A subnet with every choice drawn uniformly; `resolution` overrides that one."""
        return SubnetConfig(
            resolution=resolution or rng.choice(self.resolutions),
            stages=tuple(
                tuple(self._sample_block(rng) for _ in range(rng.choice(self.depths))) for _ in range(NUM_STAGES)
            ),
        )

    def mutate(self, subnet: SubnetConfig, rng: random.Random, probability: float = 0.1) -> SubnetConfig:
        """Redraws each choice of `subnet` with the given probability; blocks that a deeper stage adds are drawn."""

        def redrawn_block(block: BlockConfig) -> BlockConfig:
            return BlockConfig(
                kernel_size=_maybe(block.kernel_size, self.kernel_sizes, rng, probability),
                expand_ratio=_maybe(block.expand_ratio, self.expand_ratios, rng, probability),
            )

        stages = []
        for blocks in subnet.stages:
            depth = _maybe(len(blocks), self.depths, rng, probability)
            kept = tuple(redrawn_block(block) for block in blocks[:depth])
            stages.append(kept + tuple(self._sample_block(rng) for _ in range(depth - len(kept))))
        return SubnetConfig(
            resolution=_maybe(subnet.resolution, self.resolutions, rng, probability), stages=tuple(stages)
        )

    def crossover(self, first: SubnetConfig, second: SubnetConfig, rng: random.Random) -> SubnetConfig:
        """Takes each choice from one parent or the other; a block index only one parent has comes from that one."""
        stages = []
        for a, b in zip(first.stages, second.stages, strict=True):
            depth = len(rng.choice((a, b)))
            stages.append(tuple(rng.choice([p[i] for p in (a, b) if i < len(p)]) for i in range(depth)))
        return SubnetConfig(resolution=rng.choice((first.resolution, second.resolution)), stages=tuple(stages))

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SearchSpace:
        """Inverse of `to_json`.

        Raises:
            ValueError: unknown keys or values of another type.
        """
        try:
            return cls(**{name: tuple(choices) for name, choices in value.items()})
        except TypeError as error:
            raise ValueError(f"expected a search space, found {dict(value)!r:.120}") from error

    def _sample_block(self, rng: random.Random) -> BlockConfig:
        return BlockConfig(kernel_size=rng.choice(self.kernel_sizes), expand_ratio=rng.choice(self.expand_ratios))

    @staticmethod
    def _uniform(resolution: int, depth: int, kernel_size: int, expand_ratio: int) -> SubnetConfig:
        block = BlockConfig(kernel_size=kernel_size, expand_ratio=expand_ratio)
        return SubnetConfig(resolution=resolution, stages=((block,) * depth,) * NUM_STAGES)


def _maybe(current: int, choices: tuple[int, ...], rng: random.Random, probability: float) -> int:
    return rng.choice(choices) if rng.random() < probability else current
