import pytest

from ofa_det.latency.pixel2 import pixel2_published
from ofa_det.latency.published_networks import PUBLISHED_NETWORKS

# Millions of multiply-accumulates and of weights, as the authors and the published table give them.
FIGURES = {
    "mobilenet_v1_0.25_128": (13.6, 0.46),
    "mobilenet_v1_0.5_160": (76.5, 1.32),
    "mobilenet_v1_0.75_192": (239.3, 2.57),
    "mobilenet_v1_1.0_224": (568.7, 4.21),
    "mobilenet_v2_0.35_224": (59.3, 1.66),
    "mobilenet_v2_1.0_224": (300.8, 3.47),
    "mobilenet_v3_large_0.75_224": (154.6, 3.97),
    "mobilenet_v3_large_1.0_224": (216.6, 5.45),
    "mobilenet_v3_large_minimalistic_1.0_224": (209.1, 3.90),
    "mobilenet_v3_small_0.75_224": (43.4, 2.03),
    "mobilenet_v3_small_1.0_224": (56.5, 2.53),
    "mnasnet_a1_224": (311.6, 3.85),
    "proxylessnas_mobile_224": (320.4, 4.05),
    "ofa_pixel2_25ms": (79.3, 4.12),
    "ofa_pixel2_50ms": (166.0, 4.66),
}


@pytest.mark.parametrize("name", FIGURES)
def test_macs_and_weights_equal_the_published_ones(name):
    plan = PUBLISHED_NETWORKS[name]()
    mmacs, mweights = FIGURES[name]
    assert plan.macs / 1e6 == pytest.approx(mmacs, abs=0.051)
    assert sum(layer.weight_count for layer in plan.layers) / 1e6 == pytest.approx(mweights, abs=0.0051)


def test_every_published_latency_is_of_a_known_network():
    for precision in ("float32", "uint8"):
        assert set(pixel2_published(precision).networks) <= set(PUBLISHED_NETWORKS)
