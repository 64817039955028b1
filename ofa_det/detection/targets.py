"""Ground truth of a batch to targets of its anchors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ofa_det.detection.losses import MatchedTargets
from ofa_det.detection.matching import MatcherConfig, match_anchors


def match_batch(
    anchors: Tensor,
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    crowd: Sequence[Tensor],
    config: MatcherConfig,
) -> MatchedTargets:
    """Matches every image of a batch.

    Args:
        anchors: (A, 4) (cx, cy, w, h).
        boxes: per image, (G, 4) xyxy.
        labels: per image, (G,) class indices.
        crowd: per image, (K, 4) xyxy regions that are not trained as background.
        config: of the matcher.

    Returns:
        Targets of the whole batch.
    """
    matches = torch.stack([match_anchors(anchors, b, c, config) for b, c in zip(boxes, crowd, strict=True)])
    found = [m[m >= 0] for m in matches]
    return MatchedTargets(
        matches=matches,
        classes=torch.cat([values[index] for values, index in zip(labels, found, strict=True)]),
        boxes=torch.cat([values[index] for values, index in zip(boxes, found, strict=True)]),
        anchors=torch.cat([anchors[m >= 0] for m in matches]),
    )
