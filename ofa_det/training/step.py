"""One step of training: the losses of every subnet that shares a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.batch import Batch
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
    teacher: SubnetConfig | None = None,
) -> list[DetectionLosses]:
    """Runs each subnet on the batch and adds up its gradients; the first, or one apart, teaches the others.

    Args:
        network: a network that holds the subnets.
        grid: the anchors, the same for all subnets, on the network's device.
        batch: images at the subnets' resolution, on the network's device.
        subnets: that train, of one resolution; without a teacher apart, the teacher first.
        backward: called with each subnet's total loss.
        assigner: makes the targets of all subnets from the first output, that of a teacher apart if it runs.
        losses: weights.
        teacher: a subnet that teaches and does not train; it runs, without gradient, if there is distillation.

    Returns:
        Detached losses of each subnet that trains.
    """
    images = normalise(batch.images)
    objects = Objects(boxes=batch.boxes, labels=batch.labels, ignored=batch.ignored, class_scores=batch.class_scores)
    taught: DetectorOutput | None = None
    targets: Targets | None = None
    found = []
    if teacher is not None and losses.distill_weight > 0:
        with torch.no_grad():
            taught = _in_full(network(images, teacher))
        targets = assigner(grid, objects, taught)
    for subnet in subnets:
        output = _in_full(network(images, subnet))
        detached = DetectorOutput(output.box_codes.detach(), output.logits.detach())
        targets = targets or assigner(grid, objects, detached)
        loss = detection_losses(output, targets, losses, taught)
        backward(loss.total)
        found.append(DetectionLosses(*(part.detach() for part in loss)))
        taught = taught or detached
    return found


def _in_full(output: DetectorOutput) -> DetectorOutput:
    """The output in single precision, whatever the network's arithmetic."""
    return DetectorOutput(output.box_codes.float(), output.logits.float())
