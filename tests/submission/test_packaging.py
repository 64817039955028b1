from __future__ import annotations

import json
import subprocess

import pytest

from ofa_det.cli import package_submission as cli
from ofa_det.data.generated import generate_dataset
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.submission.model_card import frontier_ap
from ofa_det.submission.packaging import package_submission

ANCHORS = [[0.5, 0.5, 0.5, 0.5], [0.3, 0.6, 0.4, 0.4]]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    return generate_dataset(tmp_path_factory.mktemp("shapes"), num_train=1, num_val=6, image_size=(96, 128))


def package(model, data_root, output):
    dataset = open_split(DataConfig(root=str(data_root)), "val")
    return package_submission(model, "duck", dataset, data="val of shapes", output=output)


def test_folder_holds_all_that_a_submission_needs(write_detector, data_root, tmp_path):
    model = write_detector(ANCHORS, [[0.0, 0.5, 0.0], [0.0, 0.4, 0.0]])

    submission = package(model, data_root, tmp_path / "submissions")

    title = f"duck_{100 * submission.metrics.ap:.1f}"
    folder = tmp_path / "submissions" / title
    assert submission.folder == folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "MODEL_CARD.md",
        "detections.json",
        f"{title}.tflite",
        "md5.txt",
        "validation.json",
    ]
    assert [path.name for path in folder.parent.iterdir()] == [title]
    assert (folder / f"{title}.tflite").read_bytes() == model.read_bytes()
    subprocess.run(["md5sum", "-c", "md5.txt"], cwd=folder, check=True, capture_output=True)
    assert json.loads((folder / "validation.json").read_text())["passed"] is True
    detections = json.loads((folder / "detections.json").read_text())
    assert len(detections) == 12
    assert set(detections[0]) == {"image_id", "category_id", "bbox", "score"}
    card = (folder / "MODEL_CARD.md").read_text()
    assert f"{submission.latency}" in card
    assert submission.latency.runtime in card
    assert submission.md5 in card


def test_same_model_is_replaced_and_another_refused(write_detector, data_root, tmp_path):
    scores = [[0.0, 0.5, 0.0], [0.0, 0.4, 0.0]]
    first = package(write_detector(ANCHORS, scores), data_root, tmp_path / "out")
    (first.folder / "note.txt").write_text("old")

    again = package(write_detector(ANCHORS, scores), data_root, tmp_path / "out")
    assert again.folder == first.folder
    assert not (first.folder / "note.txt").exists()

    other = write_detector(ANCHORS, [[0.0, 0.51, 0.0], [0.0, 0.41, 0.0]], name="other.tflite")
    with pytest.raises(ValueError, match="choose another name"):
        package(other, data_root, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [first.folder.name]


def test_command_ends_with_one_line_on_a_broken_interface(write_detector, data_root, tmp_path, capsys):
    model = write_detector(ANCHORS, [[0.5], [0.5]], max_detections=10)
    arguments = ["--model", str(model), "--data.root", str(data_root), "--output", str(tmp_path / "out")]

    assert cli.main([*arguments, "--name", "duck"]) == 2
    assert "expected [1, 100, 4], found [1, 10, 4]" in capsys.readouterr().err
    assert cli.main([*arguments, "--name", "a/b"]) == 2
    assert "expected a name of letters" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_frontier_is_that_of_april_2020():
    assert frontier_ap(30) == pytest.approx(23.04, abs=0.005)
