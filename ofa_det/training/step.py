"""One step of training: the losses of every subnet that shares a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.loading import Batch
from ofa_det.detection.assignment import MatcherConfig, match_batch
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.losses import DetectionLosses, LossConfig, detection_losses
from ofa_det.detection.preprocessing import normalise

Network = Callable[[Tensor, SubnetConfig], DetectorOutput]


def accumulate_gradients(
    network: Network,
    anchors: Tensor,
    batch: Batch,
    subnets: Sequence[SubnetConfig],
    *,
    backward: Callable[[Tensor], None],
    matcher: MatcherConfig,
    losses: LossConfig,
) -> list[DetectionLosses]:
    """Runs each subnet on the batch and adds up its gradients; the first teaches the others.

    Args:
        network: a network that holds the subnets.
        anchors: (A, 4) (cx, cy, w, h), the same for all subnets.
        batch: images at the subnets' resolution, on the network's device.
        subnets: of one resolution; the teacher first.
        backward: called with each subnet's total loss.
        matcher: assigns anchors; once for all subnets, since they share the anchors.
        losses: weights.

    Returns:
        Detached losses of each subnet.
    """
    images = normalise(batch.images)
    targets = match_batch(anchors.to(images.device), batch.boxes, batch.labels, batch.ignored, matcher)
    teacher: DetectorOutput | None = None
    found = []
    for subnet in subnets:
        output = network(images, subnet)
        output = DetectorOutput(output.box_codes.float(), output.logits.float())
        loss = detection_losses(output, targets, losses, teacher)
        backward(loss.total)
        found.append(DetectionLosses(*(part.detach() for part in loss)))
        if teacher is None:
            teacher = DetectorOutput(output.box_codes.detach(), output.logits.detach())
    return found
