"""A subnet is a value: equal values are the same network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True, order=True)
class BlockConfig:
    """One inverted-residual block.

    Args:
        kernel_size: side of the depthwise kernel, in pixels of its input.
        expand_ratio: width of the expanded features over that of the block's input.
    """

    kernel_size: int
    expand_ratio: int

    def __post_init__(self) -> None:
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"expected an odd kernel_size, found {self.kernel_size}")
        if self.expand_ratio < 1:
            raise ValueError(f"expected expand_ratio >= 1, found {self.expand_ratio}")


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
        """`r320 k3e6.k5e4 ...`: the resolution, then the blocks of each stage."""
        stages = (".".join(f"k{b.kernel_size}e{b.expand_ratio}" for b in blocks) for blocks in self.stages)
        return " ".join((f"r{self.resolution}", *stages))

    @classmethod
    def parse(cls, text: str) -> SubnetConfig:
        """Inverse of `str`.

        Raises:
            ValueError: the text is not of that form.
        """
        try:
            resolution, *stages = text.split()
            blocks = [[part.removeprefix("k").split("e") for part in stage.split(".")] for stage in stages]
            return cls(
                resolution=int(resolution.removeprefix("r")),
                stages=tuple(
                    tuple(BlockConfig(kernel_size=int(k), expand_ratio=int(e)) for k, e in stage) for stage in blocks
                ),
            )
        except ValueError as error:
            raise ValueError(f"expected a subnet like 'r320 k3e6.k5e4 k3e3', found {text!r}") from error

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types, with a `schema_version`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "resolution": self.resolution,
            "stages": [
                [{"kernel_size": b.kernel_size, "expand_ratio": b.expand_ratio} for b in blocks]
                for blocks in self.stages
            ],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SubnetConfig:
        """Inverse of `to_json`.

        Raises:
            ValueError: another schema version, or keys that are missing or of another type.
        """
        if not isinstance(value, Mapping):
            raise ValueError(f"expected a subnet as a JSON object, found {type(value).__name__}")
        if value.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"expected a subnet of schema_version {SCHEMA_VERSION}, found {value.get('schema_version')}"
            )
        try:
            stages = tuple(
                tuple(
                    BlockConfig(kernel_size=_whole(b["kernel_size"]), expand_ratio=_whole(b["expand_ratio"]))
                    for b in blocks
                )
                for blocks in value["stages"]
            )
            return cls(resolution=_whole(value["resolution"]), stages=stages)
        except (KeyError, TypeError) as error:
            raise ValueError(f"expected a subnet with 'resolution' and 'stages', found {dict(value)!r:.120}") from error


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"expected a whole number, found {value!r}")
    return value
