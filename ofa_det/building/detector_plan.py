"""The plan of a build's last trainings, which waits for the networks: which there are, and how long they train."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.build_record import cap_name
from ofa_det.artefacts.evaluations import read_subnet
from ofa_det.building.choices import detector_images
from ofa_det.building.config import BuildConfig
from ofa_det.building.plan import Plan
from ofa_det.data.splits import open_split
from ofa_det.training.config import TrainConfig
from ofa_det.training.speed import training_speed

logger = logging.getLogger(__name__)

FEW_EPOCHS, FEW_IMAGES = 20, 8_000
"""Below either of which AP still rises steeply: blood cells have 45 after 14 epochs, 4,000 images, and 57 after 68."""


@dataclass(frozen=True, kw_only=True)
class DetectorPlan:
    """`detectors.json`: lengths of the last trainings, which wait for the subnets.

    Args:
        images: that each detector draws; None for the recipe's own number.
        speeds: measured for each cap that has a training, by its name, in images per second; empty where nothing was
            timed.
        notes: why.
        shared: caps without a training of their own, by their names, with the cap in ms whose network is theirs too.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    images: int | None
    speeds: Mapping[str, float]
    notes: tuple[str, ...]
    shared: Mapping[str, float] = field(default_factory=dict)

    def training_cap_ms(self, cap_ms: float) -> float:
        """The cap whose training serves a cap."""
        return self.shared.get(cap_name(cap_ms), cap_ms)


def plan_detectors(
    config: BuildConfig, plan: Plan, trainings: Mapping[float, TrainConfig], *, seconds_left: float | None
) -> DetectorPlan:
    """Which networks are trained, and for how long: caps of one network share a training; some steps of each are timed.

    Args:
        config: of the build.
        plan: of the build.
        trainings: by cap, as long as the recipe says.
        seconds_left: of the build's time; None without a limit.
    """
    caps_of: dict[SubnetConfig, list[float]] = {}
    for cap, training in trainings.items():
        assert training.subnet is not None, "a build trains detectors of one architecture"
        caps_of.setdefault(read_subnet(training.subnet), []).append(cap)
    notes = [
        f"{' and '.join(map(cap_name, caps))} got one and the same network, which is trained once"
        for caps in caps_of.values()
        if len(caps) > 1
    ]
    shared = {cap_name(cap): first for first, *others in caps_of.values() for cap in others}
    images, speeds = config.finetune_images, {}
    if images is None and seconds_left is not None:
        speeds = {cap_name(cap): round(training_speed(trainings[cap]), 2) for cap, *_ in caps_of.values()}
        count = len(open_split(config.data, "train"))
        free = seconds_left - len(shared) * plan.file_s
        images = detector_images(free, speeds=list(speeds.values()), training_images=count, file_s=plan.file_s)
        timed = ", ".join(f"{speed:.1f} images/s under {cap}" for cap, speed in speeds.items())
        notes.append(f"each detector draws {images:,} images, {images / count:.0f} epochs: timed {timed}")
        if images < (enough := max(FEW_EPOCHS * count, FEW_IMAGES)):
            logger.warning(
                "each detector draws %s images, which is little: %s would take --hours %.1f",
                f"{images:,}",
                f"{enough:,}",
                (config.hours or 0) * enough / images,
            )
    return DetectorPlan(images=images, speeds=speeds, notes=tuple(notes), shared=shared)
