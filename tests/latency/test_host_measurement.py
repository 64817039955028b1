from pathlib import Path

import pytest

from ofa_det.latency.host_measurement import measure_on_host

PEER = Path(__file__).parents[2] / "../shared/peers/coco_ssd_mobilenet_v1_quant.tflite"


@pytest.mark.parametrize("xnnpack", [True, False])
def test_a_detector_with_post_processing_is_timed(xnnpack):
    if not PEER.is_file():
        pytest.skip("no peer model beside the checkout")
    measured = measure_on_host(PEER, warmup_runs=1, runs=3, xnnpack=xnnpack)
    assert 1 < measured.median_ms < 10_000
    assert measured.runs == 3
    assert ("xnnpack" in measured.runtime) == xnnpack


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.tflite"):
        measure_on_host(tmp_path / "none.tflite")
    other = tmp_path / "other.tflite"
    other.write_text("weights")
    with pytest.raises(ValueError, match=r"expected a \.tflite that LiteRT runs"):
        measure_on_host(other)
