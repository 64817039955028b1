"""Made-up networks whose costs are known, and a fit to them."""

import numpy as np

from ofa_det.latency.features import FEATURES
from ofa_det.latency.fitting import CostPrior, TimedNetworks, fit

COSTS = np.array([0.12, 2.0, 0.3, 0.25, 0.4, 0.5, 0.8, 1.0, 1.1, 0.9, 0.02, 5.0])


def made_up_networks(runtimes=("fast", "slow"), scales=(1.0, 1.5), networks=40):
    rng = np.random.default_rng(0)
    features = rng.lognormal(0, 1, (networks, len(FEATURES)))
    rows = [i % len(runtimes) for i in range(networks)]
    return TimedNetworks(
        features=features,
        latencies_ms=features @ COSTS * np.array([scales[row] for row in rows]),
        runtimes=tuple(runtimes[row] for row in rows),
        networks=tuple(f"network{i}" for i in range(networks)),
        families=tuple(f"family{i % 4}" for i in range(networks)),
    )


def made_up_prior(peak=20.0, factor=1.5):
    return CostPrior(
        costs=tuple(COSTS * factor), peak_gmacs_per_s=peak, fastest_runtime="fast", kernel_ratios=(1.6, 1.25)
    )


def made_up_fit(timed, left_out=frozenset()):
    return fit(timed, made_up_prior())
