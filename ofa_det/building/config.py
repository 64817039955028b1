"""What a build is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from ofa_det.data.splits import DataConfig
from ofa_det.latency.latencies import checked_safety

Way = Literal["auto", "elastic", "single"]
Appearance = Literal["auto", "general", "microscope"]


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """The configurations that the stages start from, each a YAML file or the name of one that is shipped.

    A build changes their paths, their lengths, and what it chooses by the data.

    Args:
        supernet: of the supernet's training, in configs/train; this and the next two by default as objects look.
        finetune: of the fine-tuning of a subnet, in configs/train.
        single: of the training of one network without a supernet, in configs/train.
        search: in configs/search.
        export: in configs/export.
    """

    supernet: str | None = None
    finetune: str | None = None
    single: str | None = None
    search: str = "pixel2"
    export: str = "ovic"


@dataclass(frozen=True, kw_only=True)
class BuildConfig:
    """From a data set and latencies to one int8 file for each, trained, searched, verified, measured and packaged.

    Args:
        data: the data set, in COCO layout; `ofa-det convert` brings others into it.
        latency_cap_ms: latencies that the files may not exceed, post-processing included, in ms; one file for each.
        output: folder of everything; report.html in it is the page.
        resume: go on in a folder where a build was interrupted, with the same options.
        hours: time to spend, which becomes numbers of images by timing some steps of each training here first; null
            takes the lengths that the recipe states. Bit-for-bit repeatable are builds without it, and every single
            stage from the configuration that is written out.
        way: `elastic` trains a supernet, searches it and fine-tunes what was found; `single` trains the whole network
            of the space at the greatest resolution that keeps the cap, which takes one training for each cap; `auto`
            takes `single` where one cap is asked for and the whole network comes close to it.
        appearance: of the objects, which the trainings of `recipe` follow unless they are named: `general`, or
            `microscope` for one distance and no natural "up" (flips up-down too, little change of scale, the levels,
            anchors and losses of SSD); `auto` judges by the boxes of the training images.
        resolutions: sides of the input to choose among, in pixels; by default those of the space at which some network
            comes close to a cap, and smaller ones where a cap needs them.
        supernet_images: images that the supernet draws, whatever the time.
        finetune_images: images that each detector draws, whatever the time.
        search_subnets: subnets scored, whatever the time.
        name: of the packages, of letters, digits, `.`, `_` and `-`; the cap is added to it.
        ap_tolerance: largest fall of AP, as a fraction, by export; a file that loses more ends the build, which may be
            resumed with another.
        least_ap: AP, as a fraction, below which a file is not packaged, and the build ends; by default what there is is
            packaged, and one that finds next to nothing is warned of.
        safety: standard errors of the predicted latency by which the files stay below their caps.
        device: phone that the latency is of: pixel2, or a latency_table.json of calibrate_latency.
        teacher: larger detector that the supernet and the detectors learn from, its feature maps too where it has any:
            an .onnx or .tflite file, a run folder, or a folder of `ofa-det label`, which has options for them.
        teacher_licence: of its weights, for the model cards.
        seed: of every stage.
        accelerator: torch device that trains: auto, cpu, cuda or cuda:N.
        recipe: configurations that the stages start from.
    """

    data: DataConfig
    latency_cap_ms: tuple[float, ...]
    output: str = "runs/build"
    resume: bool = False
    hours: float | None = 1.25
    way: Way = "auto"
    appearance: Appearance = "auto"
    resolutions: tuple[int, ...] | None = None
    supernet_images: int | None = None
    finetune_images: int | None = None
    search_subnets: int | None = None
    name: str = "ofa-det"
    ap_tolerance: float = 0.01
    least_ap: float = 0.0
    safety: float = 1.0
    device: str = "pixel2"
    teacher: str | None = None
    teacher_licence: str = ""
    seed: int = 0
    accelerator: str = "auto"
    recipe: RecipeConfig = field(default_factory=RecipeConfig)

    def __post_init__(self) -> None:
        caps = self.latency_cap_ms
        if not caps or len(set(caps)) < len(caps) or not all(cap > 0 for cap in caps):
            raise ValueError(f"expected one or several different latency_cap_ms above 0, found {list(caps)}")
        if self.hours is not None and not self.hours > 0:
            raise ValueError(f"expected hours > 0, or null for the recipe's lengths, found {self.hours}")
        for name, known in (("way", Way), ("appearance", Appearance)):
            if getattr(self, name) not in get_args(known):
                raise ValueError(f"expected {name} of {', '.join(get_args(known))}, found {getattr(self, name)!r}")
        for name, least in (("supernet_images", 2), ("finetune_images", 2), ("search_subnets", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ValueError(f"expected {name} >= {least}, found {value}")
        if self.resolutions is not None and (not self.resolutions or min(self.resolutions) < 32):
            raise ValueError(f"expected resolutions of at least 32 px, found {list(self.resolutions)}")
        if self.teacher_licence and self.teacher is None:
            raise ValueError(f"expected --teacher with --teacher_licence {self.teacher_licence!r}, found none")
        checked_safety(self.safety)

    @property
    def caps_ms(self) -> tuple[float, ...]:
        """The caps, ascending."""
        return tuple(sorted(self.latency_cap_ms))
