from dataclasses import replace

import pytest
from latency.made_up_networks import COSTS, made_up_fit, made_up_networks, made_up_prior

from ofa_det.latency.features import FEATURES
from ofa_det.latency.fitting import CostPrior, TimedNetworks, fit


def test_costs_and_scales_are_recovered():
    fitted = fit(made_up_networks(networks=400), made_up_prior())
    assert fitted.costs[:10] == pytest.approx(COSTS[:10], rel=0.1)
    assert fitted.scales["fast"] == 1
    assert fitted.scales["slow"] == pytest.approx(1.5, rel=0.02)


def test_no_cost_per_mac_beats_the_core():
    fitted = fit(made_up_networks(), made_up_prior(peak=5.0))
    rates = [1 / cost for name, cost in zip(FEATURES, fitted.costs, strict=True) if name.endswith("_mmacs")]
    assert max(rates) <= 5.0 * (1 + 1e-9)


def test_a_cost_that_no_network_shows_keeps_itsmade_up_prior():
    timed = made_up_networks()
    hidden = FEATURES.index("vector_mweights")
    timed.features[:, hidden] = 0
    assert fit(timed, made_up_prior()).costs[hidden] == pytest.approx(COSTS[hidden] * 1.5, rel=1e-3)


def test_a_large_kernel_that_no_network_shows_costs_as_much_more_as_expected():
    timed = made_up_networks()
    for name in ("depthwise5_mmacs", "depthwise7_mmacs"):
        timed.features[:, FEATURES.index(name)] = 0
    assert made_up_fit(timed).kernel_ratios == pytest.approx((1.6, 1.25))


def test_a_large_kernel_is_never_cheaper_unless_networks_are_to_decide():
    cheap = COSTS.copy()
    cheap[FEATURES.index("depthwise5_mmacs")] = 0.5 * COSTS[FEATURES.index("depthwise3_mmacs")]
    timed = made_up_networks(scales=(1.0, 1.0), networks=400)
    timed = TimedNetworks(**{**vars(timed), "latencies_ms": timed.features @ cheap})
    assert fit(timed, made_up_prior()).kernel_ratios[0] == pytest.approx(1.0)
    free = fit(timed, replace(made_up_prior(), ordered_kernels=False))
    assert free.kernel_ratios[0] == pytest.approx(0.5, rel=0.2)


def test_a_prior_of_zero_is_refused():
    with pytest.raises(ValueError, match="positive costs"):
        CostPrior(costs=(0.0,) * len(FEATURES), peak_gmacs_per_s=1.0, fastest_runtime="fast")
