"""A subnet is a value: equal values are the same network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

BlockKind = Literal["inverted", "fused"]
"""`inverted`: 1x1 expansion, depthwise, 1x1 projection (MobileNetV2, section 3.3). `fused`: one dense k x k convolution
in place of the first two (MobileDets, section 3.1)."""

_BLOCK = re.compile(r"k(\d+)e(\d+)(f?)")


@dataclass(frozen=True, kw_only=True, order=True)
class BlockConfig:
    """One block.

    Args:
        kernel_size: side of its spatial kernel, in pixels of its input.
        expand_ratio: width of the expanded features over that of the block's input; an inverted block of ratio 1 has
            no expansion layer.
        kind: of the block.
    """

    kernel_size: int
    expand_ratio: int
    kind: BlockKind = "inverted"

    def __post_init__(self) -> None:
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"expected an odd kernel_size, found {self.kernel_size}")
        if self.expand_ratio < 1:
            raise ValueError(f"expected expand_ratio >= 1, found {self.expand_ratio}")

    def __str__(self) -> str:
        """`k3e6`, with an `f` behind it if the block is fused."""
        return f"k{self.kernel_size}e{self.expand_ratio}{'f' if self.kind == 'fused' else ''}"


@dataclass(frozen=True, kw_only=True, order=True)
class SubnetConfig:
    """One network of a search space: no inactive genes, so it hashes, sorts and compares.

    Args:
        resolution: side of the square input, in pixels.
        stages: blocks of each stage; the depth of a stage is its length.
    """

    resolution: int
    stages: tuple[tuple[BlockConfig, ...], ...]

    def __post_init__(self) -> None:
        if self.resolution < 32:
            raise ValueError(f"expected a resolution of at least 32 px, found {self.resolution}")
        if not self.stages or not all(self.stages):
            raise ValueError("expected at least one block in every stage, found an empty stage")

    def __str__(self) -> str:
        """`r320 k3e1 k3e6.k5e4 ...`: the resolution, then the blocks of each stage."""
        return " ".join((f"r{self.resolution}", *(".".join(map(str, blocks)) for blocks in self.stages)))

    @classmethod
    def parse(cls, text: str) -> SubnetConfig:
        """Inverse of `str`.

        Raises:
            ValueError: the text is not of that form.
        """
        resolution, *stages = text.split() or [""]
        blocks = [[_BLOCK.fullmatch(word) for word in stage.split(".")] for stage in stages]
        if not re.fullmatch(r"r\d+", resolution) or not stages or not all(all(stage) for stage in blocks):
            raise ValueError(f"expected a subnet like 'r320 k3e1 k3e6.k5e4', a word a stage, found {text!r}")
        return cls(
            resolution=int(resolution[1:]),
            stages=tuple(
                tuple(
                    BlockConfig(kernel_size=int(m[1]), expand_ratio=int(m[2]), kind="fused" if m[3] else "inverted")
                    for m in stage
                    if m is not None
                )
                for stage in blocks
            ),
        )
