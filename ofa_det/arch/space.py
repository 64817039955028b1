"""The set of subnets that one supernet holds, and what they share: a search space is a YAML file of these values."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Protocol

from ofa_det.arch.layers import LayerSpec, Padding
from ofa_det.arch.levels import AnchorSizes, HeadConfig, LevelSpec, NodeSpec, ssd_anchor_sizes
from ofa_det.arch.stages import Blocks, StageSpec, check_choices, draw_choice, maybe_redraw
from ofa_det.arch.subnet import SubnetConfig


class Subnets(Protocol):
    """Subnets that train together: a search space, or one architecture at several resolutions."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Sides of the square input, ascending, in pixels."""
        ...

    def __contains__(self, subnet: object) -> bool: ...

    def largest(self, resolution: int | None = None) -> SubnetConfig:
        """The subnet of most computation; `resolution` overrides the greatest."""
        ...

    def smallest(self, resolution: int | None = None) -> SubnetConfig:
        """The subnet of least computation; `resolution` overrides the least."""
        ...

    def sample(self, rng: random.Random, resolution: int | None = None) -> SubnetConfig:
        """A random subnet; `resolution` overrides its own."""
        ...


@dataclass(frozen=True, kw_only=True)
class OneSubnet:
    """One architecture.

    Args:
        subnet: the architecture; its own resolution is the one that ships.
        resolutions: at which it trains, ascending, in pixels.
    """

    subnet: SubnetConfig
    resolutions: tuple[int, ...]

    def __post_init__(self) -> None:
        check_choices("resolutions", self.resolutions)

    def __contains__(self, subnet: object) -> bool:
        sizes = (*self.resolutions, self.subnet.resolution)
        return isinstance(subnet, SubnetConfig) and subnet.stages == self.subnet.stages and subnet.resolution in sizes

    def largest(self, resolution: int | None = None) -> SubnetConfig:
        """The architecture, at its own resolution unless another is given."""
        return self.subnet if resolution is None else replace(self.subnet, resolution=resolution)

    smallest = largest

    def sample(self, rng: random.Random, resolution: int | None = None) -> SubnetConfig:
        """The architecture; only the resolution can be random."""
        return self.largest(resolution or draw_choice(self.resolutions, rng))


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """A backbone.

    Args:
        stem: first convolution, on the images.
        stages: in order.
        last: convolution behind the last stage, if there is one.
        padding: where every convolution of the backbone puts its zeros.
    """

    stem: LayerSpec
    stages: tuple[StageSpec, ...]
    last: LayerSpec | None = None
    padding: Padding = "same"

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("expected at least one stage, found none")
        for name, spec in (("stem", self.stem), ("last", self.last)):
            if spec is not None and spec.kind != "conv":
                raise ValueError(f"expected {name} to be a conv, found {spec.kind}")


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Independent choices of resolution, depth, kernel and expansion (Once-for-All, section 3.2), and what they share.

    Args:
        resolutions: sides of the square input, ascending, in pixels.
        backbone: with the choices of each stage.
        neck: layers between backbone and head, in order.
        head: predictors.
        levels: feature maps with anchors, the finest first.
    """

    resolutions: tuple[int, ...]
    backbone: BackboneConfig
    levels: tuple[LevelSpec, ...]
    neck: tuple[NodeSpec, ...] = ()
    head: HeadConfig = field(default_factory=HeadConfig)

    def __post_init__(self) -> None:
        check_choices("resolutions", self.resolutions)
        if not self.levels:
            raise ValueError("expected at least one level, found none")
        strides = [level.stride for level in self.levels]
        if strides != sorted(strides):
            raise ValueError(f"expected levels by ascending stride, found {strides}")
        names = [node.name for node in self.neck]
        if len({name.replace(".", "_") for name in names}) != len(names):
            raise ValueError(f"expected distinct names in the neck, a dot as good as a _, found {names}")
        # Names are paths of weights: what is a layer cannot be the folder of another.
        if nested := [name for name in names if any(other.startswith(f"{name}.") for other in names)]:
            raise ValueError(
                f"expected no name in the neck that begins another, found {nested[0]!r}; call it {nested[0]}.out"
            )

    @property
    def own_anchors(self) -> AnchorSizes | None:
        """The anchors that the levels state; none if they are to be fitted to a data set.

        Raises:
            ValueError: some levels have anchors and some have none.
        """
        with_anchors = [level.feature for level in self.levels if level.anchors]
        if with_anchors and len(with_anchors) < len(self.levels):
            raise ValueError(
                f"expected anchors on every level or on none, found them on {', '.join(with_anchors)} alone"
            )
        return tuple(level.anchors for level in self.levels) if with_anchors else None

    def stock_anchors(self) -> AnchorSizes:
        """SSDLite's anchors for these levels, three on each of them if they share a head.

        A single level gets the lowest of two, which stands for any three anchors where only their number counts.
        """
        sizes = ssd_anchor_sizes(max(2, len(self.levels)))[: len(self.levels)]
        return tuple(level[:3] for level in sizes) if self.head.shared else sizes

    @property
    def stages(self) -> tuple[StageSpec, ...]:
        """Of the backbone."""
        return self.backbone.stages

    def __contains__(self, subnet: object) -> bool:
        return (
            isinstance(subnet, SubnetConfig)
            and subnet.resolution in self.resolutions
            and len(subnet.stages) == len(self.stages)
            and all(blocks in stage for stage, blocks in zip(self.stages, subnet.stages, strict=True))
        )

    def count(self) -> int:
        """How many subnets the space holds."""
        return len(self.resolutions) * prod(stage.count() for stage in self.stages)

    def largest(self, resolution: int | None = None) -> SubnetConfig:
        """The subnet with every choice at its maximum; `resolution` overrides that one."""
        return self._of(resolution or self.resolutions[-1], [stage.uniform(-1) for stage in self.stages])

    def smallest(self, resolution: int | None = None) -> SubnetConfig:
        """The subnet with every choice at its minimum; `resolution` overrides that one."""
        return self._of(resolution or self.resolutions[0], [stage.uniform(0) for stage in self.stages])

    def sample(self, rng: random.Random, resolution: int | None = None) -> SubnetConfig:
        """A subnet with every choice drawn uniformly; `resolution` overrides that one."""
        resolution = resolution or draw_choice(self.resolutions, rng)
        return self._of(resolution, [stage.sample(rng) for stage in self.stages])

    def mutate(self, subnet: SubnetConfig, rng: random.Random, probability: float = 0.1) -> SubnetConfig:
        """Redraws each choice of `subnet` with the given probability; blocks that a deeper stage adds are drawn."""
        pairs = zip(self.stages, subnet.stages, strict=True)
        stages = [stage.mutate(blocks, rng, probability) for stage, blocks in pairs]
        return self._of(maybe_redraw(subnet.resolution, self.resolutions, rng, probability), stages)

    def crossover(self, first: SubnetConfig, second: SubnetConfig, rng: random.Random) -> SubnetConfig:
        """Takes each choice from one parent or the other; a block only one parent has comes from that one."""
        pairs = zip(self.stages, first.stages, second.stages, strict=True)
        stages = [stage.crossover(a, b, rng) for stage, a, b in pairs]
        return self._of(rng.choice((first.resolution, second.resolution)), stages)

    def larger_neighbours(self, subnet: SubnetConfig) -> list[SubnetConfig]:
        """Every subnet of the same resolution that is one choice above `subnet`."""
        return [
            self._of(subnet.resolution, (*subnet.stages[:index], larger, *subnet.stages[index + 1 :]))
            for index, stage in enumerate(self.stages)
            for larger in stage.larger(subnet.stages[index])
        ]

    def covering(self) -> Iterator[SubnetConfig]:
        """The largest subnet, then few others that together have every layer in each of its shapes.

        A layer's shape follows from the choices of one block, so blocks that are alike within a stage show them all.
        """
        yield self.largest()
        kernels = max(len(stage.kernel_sizes) for stage in self.stages)
        ratios = max(len(stage.expand_ratios) for stage in self.stages)
        kinds = max(len(stage.kinds) for stage in self.stages)
        for kernel, ratio, kind in product(range(kernels), range(ratios), range(kinds)):
            stages = [(stage.block(kernel, ratio, kind),) * stage.depths[-1] for stage in self.stages]
            yield self._of(self.resolutions[-1], stages)

    @staticmethod
    def _of(resolution: int, stages: Sequence[Blocks]) -> SubnetConfig:
        return SubnetConfig(resolution=resolution, stages=tuple(stages))


def check_subnet(subnet: SubnetConfig, space: SearchSpace, *, of: str) -> None:
    """Refuses a subnet whose stages are not in a space; its resolution is free.

    Raises:
        ValueError: naming what the space is `of`.
    """
    if replace(subnet, resolution=space.resolutions[0]) not in space:
        raise ValueError(f"expected a subnet of {of}, such as {space.smallest()}, found {subnet}")
