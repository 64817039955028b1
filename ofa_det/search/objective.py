"""What makes one subnet better than another, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from ofa_det.search.file_size import FILE_MARGIN
from ofa_det.search.genes import FloatArray

ObjectiveKind = Literal["ap", "soft", "frontier"]

FRONTIER_SLOPE: Final = 16.894553358968146
FRONTIER_INTERCEPT: Final = -34.42191514521174
"""AP in percent that OVIC expects of t ms on a Pixel 2: slope * ln(t) + intercept (April 2020)."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is made as large as possible.

    Args:
        kind: ap is AP under the cap. soft is AP * (latency / cap) ** exponent, which may exceed the cap, with the
            latency that includes the safety (MnasNet, section 3.1). frontier is AP in percent above what OVIC's
            frontier expects of the predicted latency, under the cap.
        exponent: of soft; MnasNet's -0.07 takes 5 % of AP for doubling the latency.
    """

    kind: ObjectiveKind = "ap"
    exponent: float = -0.07

    def __post_init__(self) -> None:
        if self.kind not in get_args(ObjectiveKind):
            raise ValueError(f"expected an objective of {', '.join(get_args(ObjectiveKind))}, found {self.kind!r}")
        if not self.exponent <= 0:
            raise ValueError(f"expected exponent <= 0, found {self.exponent}")

    @property
    def has_hard_cap(self) -> bool:
        """Whether nothing above the cap counts."""
        return self.kind != "soft"

    def values(self, ap: FloatArray, *, latency_ms: FloatArray, at_most_ms: FloatArray, cap_ms: float) -> FloatArray:
        """(N,) what subnets are worth; of those that keep the cap, where there is a hard one.

        Args:
            ap: (N,) as fractions.
            latency_ms: (N,) expected.
            at_most_ms: (N,) what the cap is compared with.
            cap_ms: the cap.
        """
        if self.kind == "soft":
            return np.asarray(ap * (at_most_ms / cap_ms) ** self.exponent)
        if self.kind == "frontier":
            return np.asarray(100 * ap - (FRONTIER_SLOPE * np.log(latency_ms) + FRONTIER_INTERCEPT))
        return ap


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What no subnet may exceed, beside latency; null is no limit.

    Args:
        mmacs: millions of multiply-accumulates of one image.
        mparameters: millions of parameters of the file.
        file_mb: predicted size of the int8 file, in megabytes (10^6 bytes); the error of the prediction is kept free.
    """

    mmacs: float | None = None
    mparameters: float | None = None
    file_mb: float | None = None

    def __post_init__(self) -> None:
        for name in ("mmacs", "mparameters", "file_mb"):
            if (limit := getattr(self, name)) is not None and not limit > 0:
                raise ValueError(f"expected {name} > 0 or null, found {limit}")

    @property
    def absolute(self) -> tuple[float, float, float]:
        """Multiply-accumulates, parameters and predicted bytes; infinity where there is no limit."""
        file_mb = None if self.file_mb is None else self.file_mb / FILE_MARGIN
        found = (self.mmacs, self.mparameters, file_mb)
        macs, parameters, size = (float("inf") if limit is None else 1e6 * limit for limit in found)
        return macs, parameters, size
