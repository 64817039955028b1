"""One step of training: the losses of every subnet that shares a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.loading import Batch
from ofa_det.detection.assignment import Assigner
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.losses import DetectionLosses, LossConfig, detection_losses
from ofa_det.detection.preprocessing import normalise
from ofa_det.detection.targets import AnchorGrid, Objects, Targets

Network = Callable[[Tensor, SubnetConfig], DetectorOutput]


def accumulate_gradients(
    network: Network,
    grid: AnchorGrid,
    batch: Batch,
    subnets: Sequence[SubnetConfig],
    *,
    backward: Callable[[Tensor], None],
    assigner: Assigner,
    losses: LossConfig,
) -> list[DetectionLosses]:
    """Runs each subnet on the batch and adds up its gradients; the first teaches the others.

    Args:
        network: a network that holds the subnets.
        grid: the anchors, the same for all subnets.
        batch: images at the subnets' resolution, on the network's device.
        subnets: of one resolution; the teacher first.
        backward: called with each subnet's total loss.
        assigner: makes the targets of all subnets from the first one's output.
        losses: weights.

    Returns:
        Detached losses of each subnet.
    """
    images = normalise(batch.images)
    objects = Objects(boxes=batch.boxes, labels=batch.labels, ignored=batch.ignored)
    teacher: DetectorOutput | None = None
    targets: Targets | None = None
    found = []
    for subnet in subnets:
        output = network(images, subnet)
        output = DetectorOutput(output.box_codes.float(), output.logits.float())
        detached = DetectorOutput(output.box_codes.detach(), output.logits.detach())
        targets = targets or assigner(grid.to(images.device), objects, detached)
        loss = detection_losses(output, targets, losses, teacher)
        backward(loss.total)
        found.append(DetectionLosses(*(part.detach() for part in loss)))
        teacher = teacher or detached
    return found
