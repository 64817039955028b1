import pytest

from ofa_det.data.splits import DataConfig
from ofa_det.export.config import ExportConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "tflite"}, "expected a format of tflite-int8, tflite-float32, onnx, found 'tflite'"),
        ({"calibration_images": 4, "verification_images": 5}, "verification_images <= calibration_images"),
        ({"verification_images": 0}, "expected 1 <= verification_images"),
        ({"ap_tolerance": -0.1}, "expected ap_tolerance >= 0"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ExportConfig(model="runs/det", data=DataConfig(root="DATA"), **changes)
