"""Channels in the order of their weight, before narrower subnets begin to train."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch.optim import Optimizer

from ofa_det.elastic.layers import ElasticConvolution
from ofa_det.elastic.sorting import sort_channels
from ofa_det.models.supernet import Supernet
from ofa_det.training.state import WeightAverage


@torch.no_grad()
def sort_for_phase(network: Supernet, average: WeightAverage, optimizer: Optimizer) -> None:
    """Begins a phase as Once-for-All does (its section 3.3): from the averaged weights, in order, with a new optimiser.

    The largest subnet computes what it did. The optimiser's moments are forgotten, since they are of channels that have
    moved; the average begins anew.

    Args:
        network: changed in place.
        average: of its weights.
        optimizer: of its weights.
    """
    for name, parameter in network.named_parameters():
        parameter.copy_(average.values[name])
    plans = [network.plan(subnet) for subnet in network.config.space.covering()]
    sort_channels(plans, cast(Mapping[str, ElasticConvolution], network.convolutions))
    average.load(dict(network.named_parameters()))
    optimizer.state.clear()
