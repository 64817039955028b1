from dataclasses import replace

import numpy as np
import pytest

from ofa_det.export.formats import FORMATS
from ofa_det.export.layer_noise import LayerNoise
from ofa_det.export.verification import Agreement, check_accuracy, check_agreement, sqnr_db

FLOAT32, INT8 = FORMATS["tflite-float32"], FORMATS["tflite-int8"]


def agreement(**changes) -> Agreement:
    same = {
        "images": 1,
        "box_code_error": 0.0,
        "score_error": 0.0,
        "box_code_sqnr_db": 200.0,
        "score_sqnr_db": 200.0,
        "unused_score": 0.0,
    }
    return Agreement(**same | changes)


def test_a_float_network_must_equal_torch_and_a_quantized_one_need_not():
    check_agreement(agreement(score_error=5e-5), FLOAT32, score_threshold=0.01)
    with pytest.raises(ValueError, match=r"equal torch within 0\.0001, found a difference of 0\.0002"):
        check_agreement(agreement(box_code_error=2e-4), FLOAT32, score_threshold=0.01)
    check_agreement(agreement(box_code_error=0.1), INT8, score_threshold=0.01)


@pytest.mark.parametrize("output", ["box_code_error", "score_error"])
def test_outputs_that_are_no_numbers_are_refused(output):
    with pytest.raises(ValueError, match="found a difference of nan"):
        check_agreement(agreement(**{output: float("nan")}), FLOAT32, score_threshold=0.01)
    with pytest.raises(ValueError, match=r"below the threshold 0\.01, found nan"):
        check_agreement(agreement(unused_score=float("nan")), INT8, score_threshold=0.01)


@pytest.mark.parametrize("output", ["box_code_sqnr_db", "score_sqnr_db"])
def test_a_quantized_network_must_not_drown_in_noise(output):
    layers = [LayerNoise(name="stem", sqnr_db=3.0), LayerNoise(name="head", sqnr_db=30.0)]
    check_agreement(agreement(**{output: 6.5}), INT8, score_threshold=0.01, layers=layers)
    with pytest.raises(ValueError, match=r"at least 6 dB .* is added in stem \(3\.0 dB\), head .* train with quant"):
        check_agreement(agreement(**{output: 5.5}), INT8, score_threshold=0.01, layers=layers)


def test_a_range_that_cuts_off_what_comes_is_named():
    harmless = LayerNoise(name="stem", sqnr_db=21.0, clipping_db=14.0, values=9_000)
    suiting = LayerNoise(name="neck", sqnr_db=15.0, clipping_db=-3.0, values=9_000)
    clipped = LayerNoise(name="head", sqnr_db=19.0, clipping_db=14.0, values=9_000)
    few = replace(clipped, values=900)
    assert [layer.is_clipped for layer in (harmless, suiting, few, clipped)] == [False, False, False, True]
    check_agreement(agreement(), INT8, score_threshold=0.01, layers=[suiting, harmless])
    with pytest.raises(ValueError, match="found head with 14 dB more clipping than rounding"):
        check_agreement(agreement(), INT8, score_threshold=0.01, layers=[clipped, suiting, harmless])


def test_an_unused_class_must_stay_below_the_threshold():
    with pytest.raises(ValueError, match=r"below the threshold 0\.01, found 0\.02"):
        check_agreement(agreement(unused_score=0.02), INT8, score_threshold=0.01)
    check_agreement(agreement(), INT8, score_threshold=0.0)  # Without such classes every threshold will do.


def test_a_fall_of_ap_is_refused():
    layers = [LayerNoise(name="stem", sqnr_db=12.0)]
    check_accuracy(before=0.5, after=0.495, tolerance=0.01, images=9, layers=layers)
    check_accuracy(before=0.5, after=0.6, tolerance=0.0, images=9)
    found = (
        r"at most 1\.0 points by the export, found 50\.0 before and 48\.0 after on 9 images; .* in stem \(12\.0 dB\)"
    )
    with pytest.raises(ValueError, match=found):
        check_accuracy(before=0.5, after=0.48, tolerance=0.01, images=9, layers=layers)


def test_noise_of_a_tenth_of_the_signal_is_20_db():
    signal = np.array([3.0, -4.0], np.float32)
    assert sqnr_db(signal, signal * np.float32(1.1)) == pytest.approx(20, abs=1e-4)
    assert sqnr_db(signal, signal) == 200
    assert sqnr_db(signal, np.full_like(signal, np.nan)) == -200
    assert sqnr_db(np.zeros_like(signal), signal) == -200
    assert sqnr_db(np.zeros_like(signal), np.zeros_like(signal)) == 200
