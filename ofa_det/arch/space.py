"""The set of subnets that one supernet holds, and what they share: a search space is a YAML file of these values."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Protocol

from ofa_det.arch.layers import BATCH_NORM_EPSILON, LayerSpec, Padding
from ofa_det.arch.levels import AnchorSizes, HeadConfig, LevelSpec, NodeSpec, ssd_anchor_sizes, with_anchors
from ofa_det.arch.stages import Blocks, OpenChoices, StageSpec, check_choices, draw_choice, maybe_redraw
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

    def restricted(self, to: OpenChoices) -> Subnets:
        """Those of the open choices."""
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

    def restricted(self, to: OpenChoices) -> OneSubnet:
        """The architecture, which has no choices."""
        return self


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """A backbone.

    Args:
        stem: first convolution, on the images.
        stages: in order.
        last: convolution behind the last stage, if there is one.
        padding: where every convolution of the backbone puts its zeros.
        batch_norm_epsilon: added to the variance in every batch norm of the backbone.
    """

    stem: LayerSpec
    stages: tuple[StageSpec, ...]
    last: LayerSpec | None = None
    padding: Padding = "same"
    batch_norm_epsilon: float = BATCH_NORM_EPSILON

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("expected at least one stage, found none")
        if self.batch_norm_epsilon <= 0:
            raise ValueError(f"expected batch_norm_epsilon > 0, found {self.batch_norm_epsilon}")
        for name, spec in (("stem", self.stem), ("last", self.last)):
            if spec is not None and spec.kind != "conv":
                raise ValueError(f"expected {name} to be a conv, found {spec.kind}")

    @property
    def end(self) -> str:
        """Name of the feature that it ends with."""
        return f"stages.{len(self.stages) - 1}" if self.last is None else "last"


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """Choices of resolution, depth, kernel and expansion (Once-for-All, section 3.2), and what they share.

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
        stated = [level.feature for level in self.levels if level.anchors]
        if stated and len(stated) < len(self.levels):
            raise ValueError(f"expected anchors on every level or on none, found them on {', '.join(stated)} alone")
        return tuple(level.anchors for level in self.levels) if stated else None

    def stock_anchors(self) -> AnchorSizes:
        """SSDLite's anchors for these levels, three on each of them if they share a head.

        A single level gets the lowest of two, which stands for any three anchors where only their number counts.
        """
        sizes = ssd_anchor_sizes(max(2, len(self.levels)))[: len(self.levels)]
        return tuple(level[:3] for level in sizes) if self.head.shared else sizes

    def with_anchors(self, anchor_sizes: AnchorSizes) -> SearchSpace:
        """The space whose levels have these anchors, without the levels that get none.

        Nodes of the neck go with the levels that alone read them.

        Args:
            anchor_sizes: of each level.

        Raises:
            ValueError: anchors of another number of levels, or of none.
        """
        levels = tuple(level for level in with_anchors(self.levels, anchor_sizes) if level.anchors)
        if not levels:
            raise ValueError("expected anchors on one level or more, found none")
        unread = self.features_read(self.levels) - self.features_read(levels)
        return replace(self, levels=levels, neck=tuple(node for node in self.neck if node.name not in unread))

    def features_read(self, levels: Iterable[LevelSpec]) -> frozenset[str]:
        """Names of the features of backbone and neck that levels read, themselves or through the neck."""
        read = {level.feature for level in levels}
        before = (self.backbone.end, *(node.name for node in self.neck))
        for node, default in reversed(list(zip(self.neck, before, strict=False))):
            if node.name in read:
                read.update(node.inputs or (default,))
        return frozenset(read)

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

    def restricted(self, to: OpenChoices) -> SearchSpace:
        """The space of the open choices, in which the largest subnet is the same; resolutions are always open."""
        stages = tuple(stage.restricted(to) for stage in self.stages)
        return replace(self, backbone=replace(self.backbone, stages=stages))

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
            stages = [stage.alike(kernel, ratio, kind) for stage in self.stages]
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
