"""One step of training: the losses of every subnet that shares a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.batch import Batch
from ofa_det.detection.assignment import Assigner
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.imitation import NEAR, imitation_loss
from ofa_det.detection.losses import DetectionLosses, LossConfig, detection_losses
from ofa_det.detection.preprocessing import normalise
from ofa_det.detection.targets import AnchorGrid, Objects, Targets

Network = Callable[[Tensor, SubnetConfig, tuple[int, ...]], DetectorOutput]
"""Images, subnet, and the levels whose features are wanted, to output."""

FEATURES = "teacher_features_stride_"
"""Begins the name of what is attached to an image: (D, side, side) features of a teacher, int8 in units of its own; the
stride follows."""


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
    feature_weight: float = 0.0,
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
        feature_weight: factor of the imitation of the features that are attached to the batch.

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
            taught = _in_full(network(images, teacher, ()))
        targets = assigner(grid, objects, taught)
    imitated = _imitated_levels(grid, batch) if feature_weight > 0 else {}
    for subnet in subnets:
        output = _in_full(network(images, subnet, tuple(imitated)))
        detached = DetectorOutput(output.box_codes.detach(), output.logits.detach())
        targets = targets or assigner(grid, objects, detached)
        loss = detection_losses(output, targets, losses, taught)
        if imitated:
            loss = loss._replace(imitation=feature_weight * _imitation(output, imitated, batch, targets))
        backward(loss.total)
        found.append(DetectionLosses(*(part.detach() for part in loss)))
        taught = taught or detached
    return found


def _in_full(output: DetectorOutput) -> DetectorOutput:
    """The output in single precision, whatever the network's arithmetic."""
    features = tuple(feature.float() for feature in output.features)
    return DetectorOutput(output.box_codes.float(), output.logits.float(), features)


def _imitated_levels(grid: AnchorGrid, batch: Batch) -> dict[int, str]:
    """The levels of whose stride a teacher's features are attached to some image, and under which name."""
    attached = {name for one in batch.attached for name in one if name.startswith(FEATURES)}
    found = {}
    for level, (height, _) in enumerate(grid.feature_sizes):
        apart = {name: abs(log(int(name.removeprefix(FEATURES)) * height / batch.images.shape[2])) for name in attached}
        if apart and min(apart.values()) < log(NEAR):
            found[level] = min(apart, key=lambda name: apart[name])
    return found


def _imitation(output: DetectorOutput, imitated: dict[int, str], batch: Batch, targets: Targets) -> Tensor:
    """Mean over the levels; of a part of a batch it weighs as much as the part's targets, like the other losses."""
    losses = []
    for features, name in zip(output.features, imitated.values(), strict=True):
        images = [number for number, one in enumerate(batch.attached) if name in one]
        teacher = torch.stack([batch.attached[number][name] for number in images]).to(features.dtype)
        if teacher.shape[2:] != features.shape[2:]:
            teacher = interpolate(teacher, size=features.shape[2:], mode="bilinear", antialias=True)
        losses.append(imitation_loss(features[images], teacher))
    return torch.stack(losses).mean() * targets.weights.sum() / targets.normaliser
