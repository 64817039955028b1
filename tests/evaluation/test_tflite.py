import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from ofa_det.arch.description import PostProcessChange
from ofa_det.evaluation.tflite import TfliteDetector

ANCHORS = [[0.2, 0.3, 0.2, 0.4], [0.7, 0.6, 0.4, 0.2], [0.5, 0.5, 0.1, 0.1]]
SCORES = [[0.1, 0.0, 0.6], [0.9, 0.0, 0.0], [0.0, 0.0, 0.0]]


def images(count: int, height: int = 6, width: int = 8) -> np.ndarray:
    return np.zeros((count, height, width, 3), dtype=np.uint8)


def test_detections_are_xyxy_by_descending_score_with_id_class_plus_one(write_detector):
    detector = TfliteDetector(write_detector(ANCHORS, SCORES))

    assert detector.input_size == (6, 8)
    first, second = detector.predict(images(2))

    np.testing.assert_allclose(first.scores, [0.9, 0.6, 0.1], atol=1e-6)
    assert first.category_ids.tolist() == [1, 3, 1]
    np.testing.assert_allclose(
        first.boxes, [[0.5, 0.5, 0.9, 0.7], [0.1, 0.1, 0.3, 0.5], [0.1, 0.1, 0.3, 0.5]], atol=1e-6
    )
    np.testing.assert_array_equal(second.boxes, first.boxes)


def test_float_input_is_taken(write_detector):
    detector = TfliteDetector(write_detector(ANCHORS, SCORES, input_type=schema.TensorType.FLOAT32))
    assert len(detector.predict(images(1))[0]) == 3


def test_no_more_detections_than_rows(write_detector):
    detector = TfliteDetector(write_detector(ANCHORS, SCORES, max_detections=2))
    np.testing.assert_allclose(detector.predict(images(1))[0].scores, [0.9, 0.6], atol=1e-6)


def test_manifest_names_the_categories_and_unused_classes_are_dropped(write_detector, write_manifest):
    path = write_detector(ANCHORS, SCORES)
    write_manifest(path, 700, None, 0)
    assert TfliteDetector(path).predict(images(1))[0].category_ids.tolist() == [700, 0, 700]

    write_manifest(path, 700, 3, None)
    assert TfliteDetector(path).predict(images(1))[0].category_ids.tolist() == [700, 700]


def test_manifest_of_another_file_is_refused(write_detector, write_manifest):
    path = write_detector(ANCHORS, SCORES)
    write_manifest(path, 1, 2, 3)
    write_detector(ANCHORS, SCORES, max_detections=10)
    with pytest.raises(ValueError, match="hash of another file"):
        TfliteDetector(path)


def test_manifest_with_too_few_classes_is_refused(write_detector, write_manifest):
    path = write_detector(ANCHORS, SCORES)
    write_manifest(path, 1, 2)
    with pytest.raises(ValueError, match="expected classes below 2"):
        TfliteDetector(path).predict(images(1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_type": schema.TensorType.INT16}, "uint8, int8 or float32 input"),
        ({"input_shape": (1, 6, 8, 1)}, "one image input"),
    ],
)
def test_other_inputs_are_refused(write_detector, changes, message):
    path = write_detector(ANCHORS, SCORES, **changes)
    with pytest.raises(ValueError, match=message):
        TfliteDetector(path)


def test_files_that_are_no_detector_are_refused(tmp_path, write_detector):
    with pytest.raises(FileNotFoundError, match="found nothing at"):
        TfliteDetector(tmp_path / "none.tflite")
    (tmp_path / "broken.tflite").write_bytes(b"TFL3 but not really a model")
    with pytest.raises(ValueError, match="expected a TFLite model"):
        TfliteDetector(tmp_path / "broken.tflite")
    model = schema.ModelT.InitFromPackedBuf(bytearray(write_detector(ANCHORS, SCORES).read_bytes()))
    model.subgraphs[0].outputs = model.subgraphs[0].operators[0].outputs
    model.subgraphs[0].operators = model.subgraphs[0].operators[:1]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "headless.tflite").write_bytes(bytes(builder.Output()))
    with pytest.raises(ValueError, match="ends in TFLite_Detection_PostProcess"):
        TfliteDetector(tmp_path / "headless.tflite")


def test_images_of_another_size_are_refused(write_detector):
    with pytest.raises(ValueError, match=r"expected uint8 images \(B, 6, 8, 3\)"):
        TfliteDetector(write_detector(ANCHORS, SCORES)).predict(images(1, 7))


@pytest.mark.parametrize(
    ("change", "scores"),
    [
        ({}, [0.9, 0.6, 0.1]),
        ({"score_threshold": 0.5}, [0.9, 0.6]),
        ({"max_detections": 1}, [0.9]),
        ({"detections_per_class": 1}, [0.9, 0.6]),
        ({"regular_nms": False}, [0.9, 0.6]),  # One class of an anchor.
    ],
)
def test_other_settings_replace_those_of_the_file(write_detector, change, scores):
    path = write_detector(ANCHORS, SCORES)
    before = path.read_bytes()
    (found,) = TfliteDetector(path, postprocess=PostProcessChange(**change)).predict(images(1))
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    assert path.read_bytes() == before


def test_overlapping_boxes_stay_where_more_overlap_is_allowed(write_detector):
    near = [[0.5, 0.5, 0.4, 0.4], [0.52, 0.5, 0.4, 0.4]]  # IoU 0.38 / 0.42
    path = write_detector(near, [[0.9], [0.8]])
    for iou_threshold, count in ((None, 1), (0.95, 2), (0.85, 1)):
        change = PostProcessChange(iou_threshold=iou_threshold)
        assert len(TfliteDetector(path, postprocess=change).predict(images(1))[0]) == count
