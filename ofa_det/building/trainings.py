"""The trainings that a build starts from: those named in its recipe, the others by how the objects look."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from ofa_det.building.choices import appearance, suiting_recipe
from ofa_det.building.config import BuildConfig
from ofa_det.data.coco_dataset import CocoDataset


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """Configurations of trainings, each a YAML file or the name of one in configs/train.

    Args:
        supernet: of the supernet.
        finetune: of a subnet, from its weights.
        single: of one network without a supernet.
    """

    supernet: str
    finetune: str
    single: str


SHIPPED = {
    "general": Trainings(supernet="small_data", finetune="finetune", single="single"),
    "microscope": Trainings(supernet="microscope", finetune="microscope_finetune", single="microscope_single"),
}
"""By the appearance of the objects that they are for."""


def choose_trainings(config: BuildConfig, dataset: CocoDataset) -> tuple[Trainings, tuple[str, ...]]:
    """The trainings, and a note of why unless all of them are named."""
    named = {field.name: getattr(config.recipe, field.name) for field in fields(Trainings)}
    if None not in named.values():
        return Trainings(**named), ()
    kind: str = config.appearance
    notes: tuple[str, ...] = ()
    if kind == "auto":
        objects = dataset.objects()
        sizes = dataset.image_sizes[objects.images].astype(np.int64)
        kind, why = suiting_recipe(appearance(objects.boxes, objects.labels, sizes))
        notes = (f"{why}; --appearance sets it",)
    return Trainings(**{name: given or getattr(SHIPPED[kind], name) for name, given in named.items()}), notes
