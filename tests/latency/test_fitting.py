import numpy as np
import pytest

from ofa_det.latency.features import FEATURES
from ofa_det.latency.fitting import CostPrior, TimedNetworks, fit, leave_one_out

COSTS = np.array([0.12, 2.0, 0.3, 0.25, 0.4, 0.8, 1.0, 0.9, 0.02])


def _timed(runtimes=("fast", "slow"), scales=(1.0, 1.5), networks=40):
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


def _prior(peak=20.0, factor=1.5):
    return CostPrior(costs=tuple(COSTS * factor), peak_gmacs_per_s=peak, fastest_runtime="fast")


def test_costs_and_scales_are_recovered():
    fitted = fit(_timed(), _prior())
    assert fitted.costs[:8] == pytest.approx(COSTS[:8], rel=0.1)
    assert fitted.scales["fast"] == 1
    assert fitted.scales["slow"] == pytest.approx(1.5, rel=0.02)


def test_no_cost_per_mac_beats_the_core():
    fitted = fit(_timed(), _prior(peak=5.0))
    rates = [1 / cost for name, cost in zip(FEATURES, fitted.costs, strict=True) if name.endswith("_mmacs")]
    assert max(rates) <= 5.0 * (1 + 1e-9)


def test_a_cost_that_no_network_shows_keeps_its_prior():
    timed = _timed()
    hidden = FEATURES.index("depthwise5_mmacs")
    timed.features[:, hidden] = 0
    assert fit(timed, _prior()).costs[hidden] == pytest.approx(COSTS[hidden] * 1.5, rel=1e-3)


def test_one_group_alone_on_a_runtime_cannot_be_predicted_without_itself():
    timed = _timed()
    runtimes = ("alone", *timed.runtimes[1:])
    timed = TimedNetworks(**{**vars(timed), "runtimes": runtimes})
    errors = leave_one_out(timed, _prior(), timed.networks)
    assert np.isnan(errors[0])
    assert np.nanmax(np.abs(errors)) < 0.15


def test_a_prior_of_zero_is_refused():
    with pytest.raises(ValueError, match="positive costs"):
        CostPrior(costs=(0.0,) * len(FEATURES), peak_gmacs_per_s=1.0, fastest_runtime="fast")
