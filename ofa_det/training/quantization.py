"""Quantization-aware training: a trained detector goes on with the rounding of its int8 file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ofa_det.arch.description import ModelDescription
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import image_batches
from ofa_det.models.activation_ranges import calibrated_ranges
from ofa_det.models.fake_quantization import QuantizedDetector, write_ranges
from ofa_det.models.network import Detector
from ofa_det.models.ranks import Ranks
from ofa_det.models.run_folder import Trained, save_model


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """Training with fake quantization (Jacob et al. 2018, section 3), for `export_det --format tflite-int8-qat`.

    Args:
        detector: run folder of a trained detector to go on with; its subnet, space, anchors and postprocess come with
            it. Without one, training is in float.
        momentum: share of a batch in the ranges of activations, which begin as calibrated.
        moving_share: share of the training in which ranges move; then they stand still, and weights settle to them.
    """

    detector: str | None = None
    momentum: float = 0.01
    moving_share: float = 0.5

    def __post_init__(self) -> None:
        for name in ("momentum", "moving_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected {name} in [0, 1], found {getattr(self, name)}")

    def momentum_at(self, step: int, num_steps: int) -> float:
        """Of the ranges, at a step."""
        return self.momentum if step < self.moving_share * num_steps else 0.0


def quantized_to_train(
    trained: Trained[Detector], dataset: CocoDataset, *, calibration_images: int
) -> QuantizedDetector:
    """The quantized form of a trained detector, with ranges calibrated on training images.

    Args:
        trained: the float detector.
        dataset: training images, taken at even distances.
        calibration_images: how many.
    """
    detector = trained.network
    size = (detector.subnet.resolution, detector.subnet.resolution)
    batches = image_batches(dataset, size=size, batch_size=8, limit=calibration_images)
    ranges = calibrated_ranges(
        detector,
        [image for batch in batches for image in batch],
        rule="mse",
        score_threshold=trained.description.postprocess.score_threshold,
    )
    return QuantizedDetector.of(detector, ranges)


def move_ranges(network: QuantizedDetector, config: QuantizeConfig, step: int, num_steps: int, ranks: Ranks) -> None:
    """Makes the ranges move, or not, in the step that follows, from the same place on every rank."""
    network.momentum = config.momentum_at(step, num_steps)
    ranks.copy_first([network.ranges])


def save_quantized(run_folder: Path, description: ModelDescription, network: QuantizedDetector) -> None:
    """Writes the weights in float, as of any detector, and the ranges beside them."""
    save_model(run_folder, description, network.as_float())
    write_ranges(run_folder, network.tensor_ranges())
