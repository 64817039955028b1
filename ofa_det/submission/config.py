"""What is packaged, and what the model card says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ofa_det.data.splits import DataConfig

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class PackageConfig:
    """Packaging of one .tflite file, or a check of a package.

    Args:
        data: the data set, in COCO layout; AP is measured on its validation images.
        model: the file, as tools/export_det.py --format tflite-int8 writes it; `manifest.json` beside it, if there,
            tells how it was made, and for which device its latency was predicted.
        name: of the submission, of letters, digits, `.`, `_` and `-`; the folder is NAME_AP with AP in percent.
        verify: a submission's folder, every claim of which is made anew and compared, instead of packaging.
        output: folder that the submission's folder goes into; one of the same name is replaced if it holds the same
            model, otherwise refused.
        image_ids: file with the ids of the validation images to score on, such as COCO's minival, as JSON list or
            with blanks or line ends between; by default all.
        torch_images: of them, those on which the run folder that the file was made from is scored beside it, spread
            evenly; all by default, 0 for none.
        ap_tolerance: largest fall of AP, as a fraction, from what the manifest claims and from torch.
        least_ap: AP, as a fraction, below which nothing is packaged.
        time_limit_ms: of the competition for one image; 30 in the round of 2020, 100 before.
        measured_ms: latency that was measured on the phone, if it was.
        measured_on: phone, core and runtime that it was measured on.
        authors: of the card.
        description: of the model, for the card.
        licence: of the model, for the card.
        data_licence: of the data set, for the card.
        limits: of the model, for the card, beside those that are measured.
    """

    data: DataConfig
    model: str | None = None
    name: str | None = None
    verify: str | None = None
    output: str = "runs/submissions"
    image_ids: str | None = None
    torch_images: int | None = None
    ap_tolerance: float = 0.01
    least_ap: float = 0.01
    time_limit_ms: float = 30.0
    measured_ms: float | None = None
    measured_on: str = ""
    authors: str = ""
    description: str = ""
    licence: str = ""
    data_licence: str = ""
    limits: str = ""

    def __post_init__(self) -> None:
        if self.verify is not None:
            if self.model is not None or self.name is not None or self.image_ids is not None:
                raise ValueError("expected --verify without --model, --name and --image_ids, which the folder has")
            return
        if self.model is None or self.name is None:
            raise ValueError("expected --model FILE and --name NAME, or --verify FOLDER, found neither")
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"expected a name of letters, digits, '.', '_' and '-', found {self.name!r}")
        if self.torch_images is not None and self.torch_images < 0:
            raise ValueError(f"expected torch_images >= 0, found {self.torch_images}")
        for name in ("ap_tolerance", "least_ap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected {name} of 0 to 1, found {getattr(self, name)}")
        if not self.time_limit_ms > 0:
            raise ValueError(f"expected time_limit_ms > 0, found {self.time_limit_ms}")
        if (self.measured_ms is None) != (not self.measured_on):
            raise ValueError("expected --measured_ms together with --measured_on, found one alone")
        if self.measured_ms is not None and not self.measured_ms > 0:
            raise ValueError(f"expected measured_ms > 0, found {self.measured_ms}")
