import numpy as np
import pytest

from ofa_det.export.verification import Agreement, check_agreement, sqnr_db


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
    check_agreement(agreement(score_error=5e-5), quantized=False, score_threshold=0.01)
    with pytest.raises(ValueError, match=r"equal torch within 0\.0001, found a difference of 0\.0002"):
        check_agreement(agreement(box_code_error=2e-4), quantized=False, score_threshold=0.01)
    check_agreement(agreement(box_code_error=0.1), quantized=True, score_threshold=0.01)


def test_an_unused_class_must_stay_below_the_threshold():
    with pytest.raises(ValueError, match=r"below the threshold 0\.01, found 0\.02"):
        check_agreement(agreement(unused_score=0.02), quantized=True, score_threshold=0.01)


def test_noise_of_a_tenth_of_the_signal_is_20_db():
    signal = np.array([3.0, -4.0], np.float32)
    assert sqnr_db(signal, signal * np.float32(1.1)) == pytest.approx(20, abs=1e-4)
    assert sqnr_db(signal, signal) == 200
