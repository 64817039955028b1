import numpy as np
import pytest
from latency.made_up_networks import made_up_fit, made_up_networks

from ofa_det.latency.fitting import TimedNetworks
from ofa_det.latency.leaving_out import LeaveOneOut, leave_one_out


def test_one_group_alone_on_a_runtime_cannot_be_predicted_without_itself():
    timed = made_up_networks()
    runtimes = ("alone", *timed.runtimes[1:])
    errors = leave_one_out(TimedNetworks(**{**vars(timed), "runtimes": runtimes}), made_up_fit)
    assert np.flatnonzero(np.isnan(errors.by_network)).tolist() == [0]
    assert np.flatnonzero(np.isnan(errors.by_family)).tolist() == [0]
    assert errors.network_worst < 0.15


def test_errors_are_summed_up_over_those_there_are():
    by_network, by_family = np.array([0.1, -0.3, np.nan]), np.array([0.3, np.nan, -0.4])
    errors = LeaveOneOut(timed=made_up_networks(networks=3), by_network=by_network, by_family=by_family)
    assert (errors.network_mean, errors.network_worst) == pytest.approx((0.2, 0.3))
    assert (errors.family_mean, errors.family_worst) == pytest.approx((0.35, 0.4))
    assert errors.family_rms == pytest.approx((0.25 / 2) ** 0.5)
    assert str(errors).startswith("leave-one-out error over 3 published networks: network 20.0% mean, 30.0% worst")


def test_a_fit_is_told_what_it_must_not_have_seen():
    told = []

    def remembered(timed, left_out):
        told.append((left_out, left_out.isdisjoint(timed.networks + timed.families)))
        return made_up_fit(timed)

    leave_one_out(made_up_networks(networks=4), remembered)
    assert len(told) == 8
    assert all(unseen and len(left_out) == 1 for left_out, unseen in told)


def test_errors_on_one_runtime():
    by_network, by_family = np.array([0.1, -0.3, 0.2]), np.array([0.3, np.nan, -0.4])
    errors = LeaveOneOut(timed=made_up_networks(networks=3), by_network=by_network, by_family=by_family).on("fast")
    assert (errors.networks, errors.network_mean, errors.family_worst) == (2, pytest.approx(0.15), pytest.approx(0.4))
    assert not np.isnan(errors.family_rms)
