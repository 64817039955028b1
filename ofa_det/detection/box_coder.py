"""SSD box codes: offsets from anchors, times fixed weights (SSD, section 2.2; TF's scales 10, 10, 5, 5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CODE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Factors of dx, dy, dw, dh; TFLite_Detection_PostProcess divides by them (x_scale, y_scale, w_scale, h_scale)."""

TF_BOX_ORDER = (1, 0, 3, 2)
"""Positions of the op's (ty, tx, th, tw) in our (dx, dy, dw, dh)."""

_MAX_LOG_SIZE = math.log(1000.0)  # keeps exp() finite on an untrained network


def enlargement(zoom: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Factors of and summands to the four box codes that make their boxes larger, about the anchor's centre.

    Args:
        zoom: of the offset and of the sides.
    """
    log_size = CODE_WEIGHTS[2] * math.log(zoom), CODE_WEIGHTS[3] * math.log(zoom)
    return (zoom, zoom, 1.0, 1.0), (0.0, 0.0, *log_size)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Codes that `decode` turns back into the boxes.

    Args:
        boxes: (..., 4) xyxy with positive sizes.
        anchors: (..., 4) (cx, cy, w, h).

    Returns:
        (..., 4) (dx, dy, dw, dh).
    """
    size = boxes[..., 2:] - boxes[..., :2]
    centre = (boxes[..., 2:] + boxes[..., :2]) / 2
    shift = (centre - anchors[..., :2]) / anchors[..., 2:]
    return torch.cat((shift, torch.log(size / anchors[..., 2:])), dim=-1) * boxes.new_tensor(CODE_WEIGHTS)


def decode(codes: Tensor, anchors: Tensor) -> Tensor:
    """Boxes of box codes.

    Args:
        codes: (..., 4) (dx, dy, dw, dh).
        anchors: (..., 4) (cx, cy, w, h), broadcast against the codes.

    Returns:
        (..., 4) xyxy, not clipped.
    """
    offsets = codes / codes.new_tensor(CODE_WEIGHTS)
    centre = anchors[..., :2] + offsets[..., :2] * anchors[..., 2:]
    half = anchors[..., 2:] * offsets[..., 2:].clamp(max=_MAX_LOG_SIZE).exp() / 2
    return torch.cat((centre - half, centre + half), dim=-1)
