"""A step's batch in parts, over the ranks of a `torchrun` and one after another on each, as if it were whole.

The losses are sums over the images, divided by a normaliser of the whole batch. It is known only when every part has
been run, since assigners look at the network's output. So the parts are divided by the number of images at first, and
the sum of their gradients is put right at the end; no network runs twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ofa_det.data.batch import Batch
from ofa_det.detection.assignment import Assigner
from ofa_det.detection.detections import DetectorOutput
from ofa_det.detection.losses import DetectionLosses
from ofa_det.detection.targets import AnchorGrid, Objects, Targets
from ofa_det.models.ranks import Ranks


def parts_of(batch: Batch, count: int) -> Iterator[Batch]:
    """Equal parts of a batch, in order."""
    size = len(batch.images) // count
    for start in range(0, size * count, size):
        part = slice(start, start + size)
        yield Batch(
            images=batch.images[part],
            boxes=batch.boxes[part],
            labels=batch.labels[part],
            ignored=batch.ignored[part],
            attached=batch.attached[part],
            class_scores=None if batch.class_scores is None else batch.class_scores[part],
        )


class DeferredNormaliser:
    """An assigner whose targets are given a provisional normaliser, and that keeps what the right one is made of.

    Args:
        assigner: makes the targets.
        provisional: the normaliser that they get.
    """

    def __init__(self, assigner: Assigner, provisional: float) -> None:
        self.provisional = provisional
        self._assigner = assigner
        self._totals: list[Tensor] = []

    def __call__(self, grid: AnchorGrid, objects: Objects, output: DetectorOutput) -> Targets:
        """Targets of one part; see `Assigner`."""
        targets = self._assigner(grid, objects, output)
        self._totals.append(targets.weights.sum())
        return replace(targets, given_normaliser=self.provisional)

    @property
    def total(self) -> Tensor:
        """Scalar: the weights' sum over all parts so far; at least 1, it is their `Targets.normaliser`."""
        return torch.stack(self._totals).sum()


def add_up(
    parameters: Sequence[nn.Parameter],
    losses: Sequence[Sequence[DetectionLosses]],
    normaliser: DeferredNormaliser,
    ranks: Ranks,
) -> list[DetectionLosses]:
    """Makes the gradients those of the whole batch, on every rank.

    The gradients are added up over the ranks here, once a step, and not by `DistributedDataParallel`: that expects one
    backward pass a step, through one module, that reaches the same parameters every time. A step here has one for each
    subnet, and each leaves other parameters out. The parameters are few, so nothing is lost by not overlapping it.

    Args:
        parameters: with this rank's gradients, summed over its parts; changed in place. One that no rank has a gradient
            for is left without.
        losses: of each part, of each subnet.
        normaliser: that made the targets of the parts.
        ranks: that have run the other parts.

    Returns:
        The losses of the whole batch, of each subnet; the same on every rank.
    """
    found = torch.stack([torch.stack([torch.stack(one) for one in part]) for part in losses]).sum(0)
    present = found.new_tensor([parameter.grad is not None for parameter in parameters])
    summary = torch.cat([normaliser.total.view(1), present, found.flatten()])
    ranks.add_up(summary)
    total, present, found = torch.split(summary, [1, len(present), found.numel()])
    factor = normaliser.provisional / total.clamp(min=1)
    trained = [parameter for parameter, count in zip(parameters, present.tolist(), strict=True) if count]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    ranks.add_up(flat)
    flat *= factor
    for parameter, gradient, part in zip(
        trained, gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True
    ):
        parameter.grad = gradient.copy_(part.view_as(gradient))
    return [DetectionLosses(*one) for one in (found * factor).view(-1, len(DetectionLosses._fields))]
