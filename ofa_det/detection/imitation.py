"""Feature imitation: a student's features should vary as a teacher's do."""

from __future__ import annotations

import torch
from torch import Tensor

NEAR = 2**0.5
"""Factor by which the strides of two maps may differ where one imitates the other."""

_EPSILON = 1e-6


def imitation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """One less the correlation of student and teacher (PKD, Cao et al. 2022, equations 4 and 5), mean of the channels.

    Each channel is normalised over batch and place, so that neither offset nor scale of the teacher's matters.

    Differs from the paper: the student may have more channels than the teacher; those behind the teacher's are free.

    Args:
        student: (B, C, H, W).
        teacher: (B, D, H, W), D at most C.

    Returns:
        Scalar in [0, 2].

    Raises:
        ValueError: shapes that do not fit.
    """
    if student.shape[2:] != teacher.shape[2:] or student.shape[1] < teacher.shape[1]:
        raise ValueError(
            f"expected features of the teacher on the student's {tuple(student.shape[2:])} cells, of at most "
            f"{student.shape[1]} channels, found {tuple(teacher.shape[1:])}"
        )
    apart = _normalised(student[:, : teacher.shape[1]]) - _normalised(teacher)
    return apart.square().mean() / 2


def _normalised(features: Tensor) -> Tensor:
    """Of mean 0 and variance 1 in each channel."""
    variance, mean = torch.var_mean(features, dim=(0, 2, 3), correction=0, keepdim=True)
    return (features - mean) / (variance + _EPSILON).sqrt()
