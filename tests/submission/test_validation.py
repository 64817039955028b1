import pytest
from ai_edge_litert import schema_py_generated as schema

from ofa_det.artefacts.records import read_record, write_record
from ofa_det.submission.validation import ValidationReport, validate_submission

ANCHORS = [[0.2, 0.3, 0.2, 0.4], [0.7, 0.6, 0.4, 0.2]]
SCORES = [[0.1, 0.6], [0.9, 0.0]]


def broken(report) -> list[str]:
    return [check.name for check in report.checks if not check.passed]


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
    assert found["detections on a random image"] == "3.0"
    assert found["scores"] == "0.1 to 0.9"


@pytest.mark.parametrize(
    ("changes", "names", "mend"),
    [
        ({"input_type": schema.TensorType.FLOAT32}, ["input type"], "export it .* --format tflite-int8"),
        ({"input_shape": (1, 1001, 8, 3)}, ["input shape"], "export it"),
        (
            {"max_detections": 10},
            ["shape of boxes", "shape of classes", "shape of scores"],
            "train it, or the supernet it is from, with --postprocess.max_detections 100$",
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
