from dataclasses import replace

import numpy as np
import pytest

from ofa_det.latency.features import FEATURES
from ofa_det.latency.fitting import CostPrior, TimedNetworks, fit
from ofa_det.latency.leaving_out import LeaveOneOut, leave_one_out

COSTS = np.array([0.12, 2.0, 0.3, 0.25, 0.4, 0.5, 0.8, 1.0, 1.1, 0.9, 0.02, 5.0])


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
    return CostPrior(
        costs=tuple(COSTS * factor), peak_gmacs_per_s=peak, fastest_runtime="fast", kernel_ratios=(1.6, 1.25)
    )


def _fit(timed, left_out=frozenset()):
    return fit(timed, _prior())


def test_costs_and_scales_are_recovered():
    fitted = fit(_timed(networks=400), _prior())
    assert fitted.costs[:10] == pytest.approx(COSTS[:10], rel=0.1)
    assert fitted.scales["fast"] == 1
    assert fitted.scales["slow"] == pytest.approx(1.5, rel=0.02)


def test_no_cost_per_mac_beats_the_core():
    fitted = fit(_timed(), _prior(peak=5.0))
    rates = [1 / cost for name, cost in zip(FEATURES, fitted.costs, strict=True) if name.endswith("_mmacs")]
    assert max(rates) <= 5.0 * (1 + 1e-9)


def test_a_cost_that_no_network_shows_keeps_its_prior():
    timed = _timed()
    hidden = FEATURES.index("vector_mweights")
    timed.features[:, hidden] = 0
    assert fit(timed, _prior()).costs[hidden] == pytest.approx(COSTS[hidden] * 1.5, rel=1e-3)


def test_one_group_alone_on_a_runtime_cannot_be_predicted_without_itself():
    timed = _timed()
    runtimes = ("alone", *timed.runtimes[1:])
    errors = leave_one_out(TimedNetworks(**{**vars(timed), "runtimes": runtimes}), _fit)
    assert np.flatnonzero(np.isnan(errors.by_network)).tolist() == [0]
    assert np.flatnonzero(np.isnan(errors.by_family)).tolist() == [0]
    assert errors.network_worst < 0.15


def test_errors_are_summed_up_over_those_there_are():
    by_network, by_family = np.array([0.1, -0.3, np.nan]), np.array([0.3, np.nan, -0.4])
    errors = LeaveOneOut(timed=_timed(networks=3), by_network=by_network, by_family=by_family)
    assert (errors.network_mean, errors.network_worst) == pytest.approx((0.2, 0.3))
    assert (errors.family_mean, errors.family_worst) == pytest.approx((0.35, 0.4))
    assert errors.family_rms == pytest.approx((0.25 / 2) ** 0.5)
    assert str(errors).startswith("leave-one-out error over 3 published networks: network 20.0% mean, 30.0% worst")


def test_a_large_kernel_that_no_network_shows_costs_as_much_more_as_expected():
    timed = _timed()
    for name in ("depthwise5_mmacs", "depthwise7_mmacs"):
        timed.features[:, FEATURES.index(name)] = 0
    assert _fit(timed).kernel_ratios == pytest.approx((1.6, 1.25))


def test_a_large_kernel_is_never_cheaper_unless_networks_are_to_decide():
    cheap = COSTS.copy()
    cheap[FEATURES.index("depthwise5_mmacs")] = 0.5 * COSTS[FEATURES.index("depthwise3_mmacs")]
    timed = _timed(scales=(1.0, 1.0), networks=400)
    timed = TimedNetworks(**{**vars(timed), "latencies_ms": timed.features @ cheap})
    assert fit(timed, _prior()).kernel_ratios[0] == pytest.approx(1.0)
    free = fit(timed, replace(_prior(), ordered_kernels=False))
    assert free.kernel_ratios[0] == pytest.approx(0.5, rel=0.2)


def test_a_fit_is_told_what_it_must_not_have_seen():
    told = []

    def remembered(timed, left_out):
        told.append((left_out, left_out.isdisjoint(timed.networks + timed.families)))
        return _fit(timed)

    leave_one_out(_timed(networks=4), remembered)
    assert len(told) == 8
    assert all(unseen and len(left_out) == 1 for left_out, unseen in told)


def test_errors_on_one_runtime():
    by_network, by_family = np.array([0.1, -0.3, 0.2]), np.array([0.3, np.nan, -0.4])
    errors = LeaveOneOut(timed=_timed(networks=3), by_network=by_network, by_family=by_family).on("fast")
    assert (errors.networks, errors.network_mean, errors.family_worst) == (2, pytest.approx(0.15), pytest.approx(0.4))
    assert not np.isnan(errors.family_rms)


def test_a_prior_of_zero_is_refused():
    with pytest.raises(ValueError, match="positive costs"):
        CostPrior(costs=(0.0,) * len(FEATURES), peak_gmacs_per_s=1.0, fastest_runtime="fast")
