"""Pointwise convolutions of a trained detector in two factors, by singular value decomposition.

What is decomposed is the weight behind the fold of its batch norm: only so are the channels of the output of one scale,
and squares of singular values errors of what the network computes. The norm itself stays, behind the second factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ofa_det.arch.low_rank import REDUCED, LayerRank, pointwise_layers
from ofa_det.models.network import Detector

KeptEnergy = Mapping[str, NDArray[np.float64]]
"""By layer: at index r - 1 the share of the squared singular values that rank r keeps; the last is 1."""


def kept_energy(detector: Detector) -> KeptEnergy:
    """What each rank keeps of each pointwise convolution."""
    found = {}
    for layer in pointwise_layers(detector.plan(detector.subnet)):
        squares = torch.linalg.svdvals(_folded(detector, layer.name)[0]).square().cpu().numpy()
        total = squares.sum()
        # Of weights that are all zero every rank keeps all.
        found[layer.name] = np.cumsum(squares) / total if total > 0 else np.ones_like(squares)
    return found


@torch.no_grad()
def factored(detector: Detector, ranks: Sequence[LayerRank]) -> Detector:
    """A copy in which each of the layers is the nearest of its rank, as two convolutions.

    Each factor takes the square root of the singular values, so that both learn at the same pace. Statistics of batch
    norms are those of the detector; `calibrate_batch_norm` makes them fit.

    Args:
        detector: without layers of low rank.
        ranks: of its layers.

    Raises:
        ValueError: ranks that do not serve.
    """
    config, resolutions = replace(detector.config, ranks=tuple(ranks)), detector.subnets.resolutions
    copy = Detector(config, detector.subnet, resolutions).to(next(detector.parameters()).device)
    state = detector.state_dict()
    for each in ranks:
        name, rank = each.layer, each.rank
        folded, scale = _folded(detector, name)
        left, values, right = torch.linalg.svd(folded, full_matrices=False)
        root = values[:rank].sqrt()
        inverse = torch.where(scale == 0, 0.0, 1 / scale)  # A channel of scale 0 is its shift, whatever the weights.
        state[f"{name}.weight"] = _kernel(inverse[:, None] * left[:, :rank] * root)
        state[f"{name}{REDUCED}.weight"] = _kernel(root[:, None] * right[:rank])
        state[f"{name}{REDUCED}.bias"] = torch.zeros(rank)
    copy.load_state_dict(state)
    return copy.train(detector.training)


@torch.no_grad()
def _folded(detector: Detector, name: str) -> tuple[Tensor, Tensor]:
    """(O, C) weights of a pointwise layer behind the fold of its norm, and (O,) what the norm multiplies them by."""
    layer, module = detector.plan(detector.subnet)[name], detector.convolutions[name]
    weight = module.weights(layer)[0][:, :, 0, 0].double()
    norm, scale = module.norm, weight.new_ones(len(weight))
    if norm is not None and norm.running_var is not None:
        scale = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
    return scale[:, None] * weight, scale


def _kernel(matrix: Tensor) -> Tensor:
    """(O, C) as the weight (O, C, 1, 1) of a convolution."""
    return matrix.float()[:, :, None, None]
