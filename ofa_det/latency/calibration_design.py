"""Which subnets of a space tell most of a device's costs."""

from __future__ import annotations

import random
from typing import Final

import numpy as np

from ofa_det.arch.description import ModelDescription
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.latency.calibration_fit import PRIOR_COSTS
from ofa_det.latency.features import FloatArray, network_features

_CANDIDATES: Final = 8
"""Random subnets for each one that is fitted to."""


def design(
    description: ModelDescription, networks: int, held_out: int, *, seed: int
) -> tuple[tuple[SubnetConfig, ...], tuple[SubnetConfig, ...]]:
    """Subnets to fit to, and random others to check on.

    To the smallest and largest of each resolution are added, one at a time, those of random candidates that the ones
    chosen so far tell least of: of the greatest variance of a linear fit to the shares of features (D-optimal).

    Args:
        description: of the detector.
        networks: how many to fit to.
        held_out: how many to check on.
        seed: of the candidates.
    """
    space = description.detector.space
    rng = random.Random(seed)
    # At least two in every three are left to the criterion.
    ends = [end(r) for r in space.resolutions for end in (space.smallest, space.largest)]
    chosen = list(dict.fromkeys(ends))[: max(2, networks // 3)]
    pool = dict.fromkeys(_sample(description, rng) for _ in range(_CANDIDATES * networks))
    checked = tuple(subnet for subnet in pool if subnet not in chosen)[:held_out]
    candidates = [subnet for subnet in pool if subnet not in chosen and subnet not in checked]
    if len(checked) < held_out or len(candidates) + len(chosen) < networks:
        raise ValueError(
            f"expected a space of more than {networks + held_out} subnets, found {len(pool)} in as many draws; lower "
            "--networks and --held_out"
        )
    rows = np.array([feature_shares(description, subnet) for subnet in (*chosen, *candidates)])
    rows /= np.maximum(np.abs(rows).max(axis=0), 1e-12)
    information = 1e-6 * np.eye(rows.shape[1]) + rows[: len(chosen)].T @ rows[: len(chosen)]
    waiting = list(range(len(chosen), len(rows)))
    while len(chosen) < networks:
        inverse = np.linalg.inv(information)
        variances = np.einsum("ij,jk,ik->i", rows[waiting], inverse, rows[waiting])
        best = waiting.pop(int(np.argmax(variances)))
        information += np.outer(rows[best], rows[best])
        chosen.append(candidates[best - len(rows) + len(candidates)])
    return tuple(chosen), checked


def _sample(description: ModelDescription, rng: random.Random) -> SubnetConfig:
    space = description.detector.space
    return space.sample(rng, rng.choice(space.resolutions))


def feature_shares(description: ModelDescription, subnet: SubnetConfig) -> FloatArray:
    """(len(FEATURES),) of a subnet: features by their expected milliseconds in all."""
    features = network_features(description.shipped_plan(subnet).layers)
    return features / float(features @ np.array(PRIOR_COSTS))
