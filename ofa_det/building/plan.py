"""The plan of a build, as a file: what was chosen before anything was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ofa_det.building.choices import Spending
from ofa_det.building.teaching import Teaching
from ofa_det.building.trainings import Trainings


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`plan.json`.

    Args:
        trainings: the configurations that they start from.
        pretrained: weights to start from; None for random ones.
        space: search space, a shipped name or a file of this build.
        elastic: whether a supernet trains; otherwise each cap has the network of `whole` alone.
        whole: for each cap, by its name, the whole network that keeps it, written out; none where none does.
        spending: lengths of supernet and searches.
        supernet_speed: measured, in images per second; None where nothing was timed.
        file_s: expected time for each file behind its training.
        notes: what was chosen and why.
        teaching: by a larger detector; None without one.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    trainings: Trainings
    pretrained: str | None
    space: str
    elastic: bool
    whole: Mapping[str, str | None]
    spending: Spending
    supernet_speed: float | None
    file_s: float
    notes: tuple[str, ...]
    teaching: Teaching | None = None
