from dataclasses import replace

import pytest

from ofa_det.arch.description import PostProcessConfig
from ofa_det.data.splits import DataConfig
from ofa_det.export.config import EndingConfig, ExportConfig
from ofa_det.export.formats import FORMATS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "tflite"}, "expected a format of tflite-float32, .*, onnx, onnx-nms, found 'tflite'"),
        ({"classes": "coco"}, "expected a classes of competition, compact, found 'coco'"),
        ({"ranges": "max"}, "expected a ranges of minmax, percentile, mse, found 'max'"),
        ({"verify": "some"}, "expected a verify of none, sample, full, found 'some'"),
        ({"format": "tflite-float16", "input_type": "uint8"}, "expected input_type float32 of tflite-float16"),
        ({"input_type": "float32"}, "expected input_type uint8 or int8 of tflite-int8, found 'float32'"),
        ({"format": "onnx", "ending": EndingConfig(kind="raw")}, "expected no ending of onnx"),
        ({"calibration_images": 0}, "expected calibration_images >= 1"),
        ({"verification_images": 0}, "expected verification_images >= 1"),
        ({"compared_images": 0}, "expected compared_images >= 1"),
        ({"ap_tolerance": -0.1}, "expected ap_tolerance >= 0"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ExportConfig(model="runs/det", data=DataConfig(root="DATA"), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "nms"}, "expected a kind of op, raw"),
        ({"score_threshold": 1.5}, r"expected score_threshold in \[0, 1\]"),
        ({"max_classes_per_detection": 0}, "expected max_classes_per_detection >= 1"),
        ({"box_scales": (10.0, 10.0, 0.0, 5.0)}, "expected box_scales > 0"),
    ],
)
def test_an_ending_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        EndingConfig(**changes)


def test_an_ending_changes_what_it_names():
    trained = PostProcessConfig(score_threshold=0.2, max_detections=7)
    assert EndingConfig().applied_to(trained) == trained
    ending = EndingConfig(iou_threshold=0.3, regular_nms=False, max_classes_per_detection=2)
    assert ending.applied_to(trained) == replace(trained, iou_threshold=0.3, regular_nms=False)
    with pytest.raises(ValueError, match="expected max_classes_per_detection 1 with regular_nms, found 2"):
        EndingConfig(max_classes_per_detection=2).applied_to(trained)


def test_every_format_is_checked_somehow():
    for record in FORMATS.values():
        assert (record.tolerance is None) == (record.least_sqnr_db is not None)
        assert record.quantized or not record.trained_ranges
        assert record.is_onnx == (record.latency_precision is None)
