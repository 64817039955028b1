import json
import subprocess

import pytest

from ofa_det.data.generated import generate_dataset
from ofa_det.data.splits import DataConfig
from ofa_det.submission.packaging import PackageConfig, package

ANCHORS = [[0.5, 0.5, 0.5, 0.5], [0.3, 0.6, 0.4, 0.4]]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> DataConfig:
    root = generate_dataset(tmp_path_factory.mktemp("shapes"), num_train=1, num_val=6, image_size=(96, 128))
    return DataConfig(root=str(root))


def packaged(model, data, output):
    return package(PackageConfig(model=str(model), name="duck", data=data, output=str(output)), progress=False)


def test_folder_holds_all_that_a_submission_needs(write_detector, data, tmp_path):
    model = write_detector(ANCHORS, [[0.0, 0.5, 0.0], [0.0, 0.4, 0.0]])

    submission = packaged(model, data, tmp_path / "submissions")

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


def test_same_model_is_replaced_and_another_refused(write_detector, data, tmp_path):
    scores = [[0.0, 0.5, 0.0], [0.0, 0.4, 0.0]]
    first = packaged(write_detector(ANCHORS, scores), data, tmp_path / "out")
    (first.folder / "note.txt").write_text("old")

    again = packaged(write_detector(ANCHORS, scores), data, tmp_path / "out")
    assert again.folder == first.folder
    assert not (first.folder / "note.txt").exists()

    other = write_detector(ANCHORS, [[0.0, 0.51, 0.0], [0.0, 0.41, 0.0]], name="other.tflite")
    with pytest.raises(ValueError, match="choose another name"):
        packaged(other, data, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [first.folder.name]


def test_what_cannot_be_packaged_leaves_nothing_behind(write_detector, data, tmp_path):
    short = write_detector(ANCHORS, [[0.5], [0.5]], max_detections=10)
    with pytest.raises(ValueError, match=r"expected \[1, 100, 4\], found \[1, 10, 4\]"):
        packaged(short, data, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="found nothing at"):
        packaged(tmp_path / "none.tflite", data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a/b", "", ".hidden", "two words"])
def test_names_that_are_no_folder_are_refused(name, data):
    with pytest.raises(ValueError, match="expected a name of letters"):
        PackageConfig(model="model.tflite", name=name, data=data)
