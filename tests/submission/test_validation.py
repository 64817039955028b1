from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from ofa_det.artefacts.records import read_record, write_record
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.submission.behaviour import Outputs, behaviour_checks
from ofa_det.submission.report import ValidationReport
from ofa_det.submission.validation import validate_submission

SHARED = Path(__file__).parents[2] / "../shared"
ANCHORS = [[0.2, 0.3, 0.2, 0.4], [0.7, 0.6, 0.4, 0.2]]
SCORES = [[0.1, 0.6], [0.9, 0.0]]


def broken(report) -> list[str]:
    return [check.name for check in report.broken]


def edited(path, edit):
    """The file with its flatbuffer changed."""
    model = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()))
    edit(model)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def test_file_with_ovics_interface_passes(write_detector, write_manifest, tmp_path):
    path = write_detector(ANCHORS, SCORES)
    write_manifest(path, 1, 2)

    report = validate_submission(path)

    report.require(path)
    assert report.passed
    write_record(tmp_path / "validation.json", report)
    assert read_record(tmp_path / "validation.json", ValidationReport) == report
    found = {check.name: check.found for check in report.checks}
    assert found["input shape"] == "[1, 6, 8, 3]"
    assert found["shape of boxes"] == "[1, 100, 4]"
    assert found["count"] == "3 to 3"
    assert found["scores"] == "0.1 to 0.9"
    assert found["custom operators"] == "TFLite_Detection_PostProcess"


@pytest.mark.parametrize(
    ("changes", "names", "mend"),
    [
        ({"input_type": schema.TensorType.FLOAT32}, ["input type"], "export it .* --format tflite-int8"),
        ({"input_shape": (1, 1001, 8, 3)}, ["input shape"], "export it"),
        (
            {"max_detections": 10},
            ["shape of boxes", "shape of classes", "shape of scores"],
            "export it with --ending.max_detections 100$",
        ),
    ],
)
def test_broken_rules_are_named_with_the_mend(write_detector, changes, names, mend):
    path = write_detector(ANCHORS, SCORES, **changes)

    report = validate_submission(path)

    assert broken(report) == names
    with pytest.raises(ValueError, match=f"{names[0]}: expected .*, found .*; {mend}") as error:
        report.require(path)
    assert "\n" not in str(error.value)


def test_real_images_are_seen_and_their_categories_need_columns(write_detector, tiny_root):
    dataset = open_split(DataConfig(root=str(tiny_root)), "val")
    highest = max(category.id for category in dataset.categories)

    enough = validate_submission(write_detector(ANCHORS, [[0.1] * highest] * 2), dataset, images=2)
    assert (enough.passed, enough.images) == (True, 2)

    two = validate_submission(write_detector(ANCHORS, SCORES), dataset)
    assert broken(two) == ["class columns"]
    assert "number the categories from 1" in str(two.broken[0])


def test_outputs_in_another_order_are_told_from_each_other(write_detector):
    """Classes and scores are of one shape."""

    def swap(model):
        boxes, classes, scores, count = model.subgraphs[0].outputs
        model.subgraphs[0].outputs = [boxes, scores, classes, count]

    report = validate_submission(edited(write_detector(ANCHORS, SCORES), swap))
    assert {"order of outputs", "scores", "class indices"} <= set(broken(report))
    assert next(check for check in report.broken).found == "its outputs [0, 2, 1, 3]"


@pytest.mark.parametrize(
    ("version", "release", "found"),
    [(1, "1.13", "MAXIMUM 1 (known from 1.14 on)"), (3, "2.2", "MAXIMUM 3 (known from 2.3 on)"), (9, "2.2", "unknown")],
)
def test_operators_that_the_runtime_did_not_know_are_named(write_detector, version, release, found):
    def newer(model):
        model.operatorCodes[0].version = version

    report = validate_submission(edited(write_detector(ANCHORS, SCORES), newer), release=release)
    (late,) = [check for check in report.broken if check.name == "builtin operators"]
    assert found in late.found


def test_foreign_and_flex_operators_are_refused_though_they_cannot_run(write_detector):
    def foreign(model):
        model.operatorCodes[-1].customCode = "FlexNonMaxSuppressionV3"
        other = schema.OperatorCodeT()
        other.builtinCode = other.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        other.customCode, other.version = "MyOp", 1
        model.operatorCodes.append(other)

    report = validate_submission(edited(write_detector(ANCHORS, SCORES), foreign))
    assert broken(report) == ["TensorFlow operators", "custom operators", "runs on one thread"]
    assert [check.found for check in report.broken[:2]] == ["FlexNonMaxSuppressionV3", "MyOp"]


def test_a_release_is_two_numbers(write_detector):
    with pytest.raises(ValueError, match=r"expected a release of TensorFlow Lite as 2\.2, found 'new'"):
        validate_submission(write_detector(ANCHORS, SCORES), release="new")


def test_what_comes_out_must_be_readable():
    def of(**changes):
        values = {
            "boxes": np.array([[0, 0, 1, 1], [0.2, 0.2, 0.4, 0.4]], np.float32),
            "classes": np.array([0, 1], np.float32),
            "scores": np.array([0.9, 0.5], np.float32),
            "count": 2.0,
        }
        return Outputs(**{**values, **changes})

    def names(output, repeated=None):
        checks = behaviour_checks([of(), output], repeated or of(), most=100, num_classes=2)
        return [check.name for check in checks if not check.passed]

    assert names(of()) == []
    assert names(of(scores=np.array([0.9, np.nan], np.float32))) == ["numbers", "scores"]
    assert names(of(scores=np.array([0.5, 0.9], np.float32))) == ["scores"]
    assert names(of(scores=np.array([1.5, 0.9], np.float32))) == ["scores"]
    assert names(of(classes=np.array([0, 2], np.float32))) == ["class indices"]
    assert names(of(classes=np.array([0, 0.5], np.float32))) == ["class indices"]
    assert names(of(boxes=np.array([[1, 1, 0, 0], [0, 0, 1, 1]], np.float32))) == ["boxes"]
    assert names(of(count=101.0)) == ["count"]
    assert names(of(), of(scores=np.array([0.9, 0.4], np.float32))) == ["the same image again"]


def test_other_class_numbering_is_refused(write_detector, write_manifest):
    path = write_detector(ANCHORS, SCORES)
    write_manifest(path, 0, 1)
    assert broken(validate_submission(path)) == ["classes"]


def test_detection_of_an_unused_class_is_named(write_detector, write_manifest):
    path = write_detector(ANCHORS, SCORES)
    write_manifest(path, 1, None)
    assert broken(validate_submission(path)) == ["category ids"]


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="found nothing at"):
        validate_submission(tmp_path / "none.tflite")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data beside the repository")
def test_a_published_detector_fails_for_its_ten_detections_alone():
    data = DataConfig(root=str(SHARED / "data/mini_coco"))
    report = validate_submission(
        SHARED / "peers/coco_ssd_mobilenet_v1_quant.tflite", open_split(data, "val"), images=4, release="1.14"
    )
    assert broken(report) == ["shape of boxes", "shape of classes", "shape of scores"]
    assert [check.found for check in report.broken] == ["[1, 10, 4]", "[1, 10]", "[1, 10]"]
    assert report.images == 4
