"""Costs of one device's layers, fitted to the latencies that were measured on it."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from ofa_det.arch.description import PostProcessConfig
from ofa_det.arch.plan import LayerPlan
from ofa_det.latency.features import FEATURES, POSTPROCESSING, FloatArray, network_features
from ofa_det.latency.fitting import CostPrior, FittedCosts, TimedNetworks, fit
from ofa_det.latency.latencies import Precision
from ofa_det.latency.postprocessing import PostprocessingLaw, detection_tail

NO_CANDIDATES: Final = PostProcessConfig(score_threshold=1.0)
"""Of the measured detectors, in which no score is a candidate: what candidates cost is the law's to say."""

PRIOR_COSTS: Final = (0.125, 1.5, 0.15, 0.2, 0.2, 0.2, 0.8, 0.7, 0.7, 0.5, 0.01, 1.0)
"""Orders of magnitude for any core, as the Pixel 2's float32; the fit scales them first."""

_PRIOR_SIGMA: Final = 1.5


def detector_features(plan: LayerPlan, law: PostprocessingLaw, precision: Precision) -> FloatArray:
    """The features of a measured detector: (len(FEATURES),)."""
    features = network_features(plan.layers)
    tail = detection_tail(plan, NO_CANDIDATES, precision=precision, candidates=0)
    features[POSTPROCESSING] = law.tail_ms(tail)
    return features


def fit_costs(features: FloatArray, latencies_ms: npt.NDArray[np.float64]) -> FloatArray:
    """Costs (len(FEATURES),) of one device and runtime.

    Args:
        features: (N, len(FEATURES)) of the measured networks.
        latencies_ms: (N,).
    """
    runtime = "measured"
    # Post-processing is in the device's own ms already.
    rough = np.array(PRIOR_COSTS)
    others = np.delete(np.arange(len(FEATURES)), POSTPROCESSING)
    network_ms = np.maximum(latencies_ms - features[:, POSTPROCESSING], 0.1 * latencies_ms)
    rough[others] *= np.median(network_ms / (features[:, others] @ rough[others]))
    timed = TimedNetworks(
        features=features,
        latencies_ms=latencies_ms,
        runtimes=(runtime,) * len(features),
        networks=tuple(map(str, range(len(features)))),
        families=("measured",) * len(features),
    )
    prior = CostPrior(
        costs=tuple(rough.tolist()),
        peak_gmacs_per_s=1e6,  # Many networks of one device need no bound.
        fastest_runtime=runtime,
        sigma=_PRIOR_SIGMA,
        kernel_sigma=_PRIOR_SIGMA,
        ordered_kernels=False,
    )
    fitted: FittedCosts = fit(timed, prior)
    return fitted.costs
