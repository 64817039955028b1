"""One step of training: the losses of every subnet that shares a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from torch import Tensor

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.layer_plan import detector_plan
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.loading import Batch
from ofa_det.detection.anchors import anchor_boxes
from ofa_det.detection.losses import DetectionLosses, LossConfig, detection_losses
from ofa_det.detection.matching import MatcherConfig
from ofa_det.detection.output import DetectorOutput
from ofa_det.detection.preprocessing import normalise
from ofa_det.detection.targets import match_batch

Network = Callable[[Tensor, SubnetConfig], DetectorOutput]


@lru_cache(maxsize=64)
def _anchors(config: DetectorConfig, subnet: SubnetConfig) -> Tensor:
    return anchor_boxes(detector_plan(config, subnet).feature_sizes, config.anchor_sizes)


def accumulate_gradients(
    network: Network,
    config: DetectorConfig,
    batch: Batch,
    subnets: Sequence[SubnetConfig],
    *,
    backward: Callable[[Tensor], None],
    matcher: MatcherConfig,
    losses: LossConfig,
) -> list[DetectionLosses]:
    """Runs each subnet on the batch and adds up its gradients; the first teaches the others.

    Args:
        network: the supernet, or a detector of the one subnet.
        config: of the detector.
        batch: images at the subnets' resolution, on the network's device.
        subnets: of one resolution; the teacher first.
        backward: called with each subnet's total loss.
        matcher: assigns anchors; once for all subnets, since they share the anchors.
        losses: weights.

    Returns:
        Detached losses of each subnet.
    """
    device = batch.images.device
    images = normalise(batch.images)
    anchors = _anchors(config, subnets[0]).to(device)
    targets = match_batch(anchors, batch.boxes, batch.labels, batch.crowd, matcher)
    teacher: DetectorOutput | None = None
    found = []
    for subnet in subnets:
        output = network(images, subnet)
        loss = detection_losses(output, targets, losses, teacher)
        backward(loss.total)
        found.append(DetectionLosses(*(part.detach() for part in loss)))
        if teacher is None:
            teacher = DetectorOutput(output.box_codes.detach(), output.logits.detach())
    return found
