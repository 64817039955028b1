"""Whether a larger detector can teach a build, and what is asked of it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.build_record import BuildFolder
from ofa_det.artefacts.configs import read_config
from ofa_det.building.config import BuildConfig
from ofa_det.building.run import build
from ofa_det.building.teaching import FEATURE_WEIGHT, Teaching, label_config, plan_teaching, taught_by
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.teachers.feature_file import FeatureConfig
from ofa_det.teachers.run import label
from ofa_det.training.config import TrainConfig
from ofa_det.training.teaching import TeacherConfig


def planned(root: Path, output: Path, space: SearchSpace, **options) -> tuple[Teaching | None, list[str]]:
    data = DataConfig(root=str(root))
    config = BuildConfig(data=data, latency_cap_ms=(40.0,), output=str(output), **options)
    trainings = [read_config(TrainConfig, f"train/{name}", data=data) for name in ("small_data", "finetune")]
    notes: list[str] = []
    return plan_teaching(config, trainings, space, open_split(data, "train"), BuildFolder(output), notes), notes


def test_nobody_teaches_without_a_teacher(tiny_root, tmp_path, necked_space):
    assert planned(tiny_root, tmp_path, necked_space) == (None, [])
    unchanged = TeacherConfig(class_share=0.25)
    assert taught_by(None, unchanged) is unchanged


def test_a_teacher_is_tried_and_labels_views_with_maps(tiny_root, tmp_path, necked_space, teacher, caplog):
    teaching, (note,) = planned(tiny_root, tmp_path / "x", necked_space, teacher=teacher)
    assert (teaching.teacher, teaching.labels, teaching.views) == (teacher, str(tmp_path / "x/labels"), 24)
    assert teaching.features == FeatureConfig(strides=(8, 16, 32), channels=32, stored=224)
    assert 0 < teaching.seconds < 60
    assert note.startswith(
        f"{teacher} teaches by its class scores and feature maps, in 24 views of each image, 0.0 GB; labels take"
    )
    assert not (tmp_path / "x").exists()
    assert caplog.messages == ["no licence of the teacher is stated, for the model cards; --teacher_licence states it"]
    read = taught_by(teaching, TeacherConfig())
    assert (read.labels, read.feature_weight) == (teaching.labels, FEATURE_WEIGHT)


def test_labels_that_were_made_before_are_read_for_a_trial(tiny_root, tmp_path, necked_space, tiny_space, teacher):
    data = DataConfig(root=str(tiny_root))
    config = BuildConfig(data=data, latency_cap_ms=(40.0,), seed=3, teacher=teacher, teacher_licence="MIT")
    features = FeatureConfig(strides=(16,), channels=4)
    augmentation = read_config(TrainConfig, "train/small_data").augmentation
    made = Teaching(
        labels=str(tmp_path / "made"), teacher=teacher, views=2, features=features, imitated=True, seconds=1.0
    )
    options = label_config(config, made, augmentation)
    assert (options.seed, options.views, options.features, options.licence) == (3, 2, features, "MIT")
    label(options, progress=False)
    teaching, notes = planned(tiny_root, tmp_path / "x", necked_space, teacher=made.labels)
    assert (teaching.labels, teaching.teacher, teaching.imitated, teaching.seconds) == (made.labels, None, True, 0.0)
    assert notes == [f"the labels in {made.labels} teach by class scores and feature maps"]
    # SSD's levels learn from the class scores of the same labels.
    teaching, (note,) = planned(tiny_root, tmp_path / "x", tiny_space, teacher=made.labels)
    assert not teaching.imitated
    assert "alone: levels are the backbone's own" in note
    with pytest.raises(
        ValueError, match="expected no --teacher_licence with labels, which state their own, found 'MIT'"
    ):
        planned(tiny_root, tmp_path / "x", necked_space, teacher=made.labels, teacher_licence="MIT")
    narrow = replace(necked_space, neck=tuple(replace(node, width=node.width and 2) for node in necked_space.neck))
    with pytest.raises(ValueError, match=r"expected at most 2 channels of the maps .*, found 4; label with fewer"):
        planned(tiny_root, tmp_path / "x", narrow, teacher=made.labels)
    next((tmp_path / "made/features").glob("*.safetensors")).unlink()
    with pytest.raises(ValueError, match=r"expected .*features-00000000.safetensors, found nothing"):
        planned(tiny_root, tmp_path / "x", necked_space, teacher=made.labels)


def test_levels_of_the_backbone_learn_class_scores_alone(tiny_root, tiny_space, tmp_path, teacher):
    teaching, (note,) = planned(tiny_root, tmp_path, tiny_space, teacher=teacher)
    assert (teaching.views, teaching.features, teaching.imitated) == (0, FeatureConfig(), False)
    assert "teaches by its class scores alone: levels are the backbone's own" in note
    assert taught_by(teaching, TeacherConfig()).feature_weight == 0.0


@pytest.mark.parametrize(
    ("speed", "views", "words"),
    [
        (24.0, 24, "in 24 views"),
        (24 / 40, 17, "in 17 views"),
        (24 / 300, 0, "alone: 3 views of each image would take too long"),
    ],
)
def test_labels_of_views_take_a_fifth_of_the_time_at_most(
    tiny_root, tmp_path, necked_space, teacher, monkeypatch, speed, views, words
):
    """So many views a second, of 12 images in two passes and a report: 24 s, or 980 of the 720 that are a fifth."""

    def label(config, progress):
        return SimpleNamespace(manifest=SimpleNamespace(images_per_second=speed / (config.views or 1)))

    monkeypatch.setattr("ofa_det.building.teaching.label", label)
    teaching, (note,) = planned(tiny_root, tmp_path, necked_space, teacher=teacher, hours=1.0)
    assert teaching.views == views
    assert words in note
    assert teaching.seconds == pytest.approx(12 / speed * (views * (2 + 1 / 24) or 1), rel=0.01)


def test_a_teacher_of_days_is_no_teacher_of_an_hour(tiny_root, tmp_path, tiny_space, teacher, monkeypatch):
    slow = SimpleNamespace(manifest=SimpleNamespace(images_per_second=1 / 200))
    monkeypatch.setattr("ofa_det.building.teaching.label", lambda config, progress: slow)
    with pytest.raises(ValueError, match=r"within half of --hours 1, found about 40 min; give it more, or label with"):
        planned(tiny_root, tmp_path, tiny_space, teacher=teacher, hours=1.0)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("nowhere.onnx", FileNotFoundError, "found nothing at nowhere.onnx"),
        ("setup.cfg", ValueError, "expected an .onnx or .tflite file, .* as --teacher, found setup.cfg"),
        ("tests", ValueError, "found neither model.safetensors of a run nor teacher_labels.safetensors in tests"),
    ],
)
def test_what_is_no_teacher_is_said_before_anything_is_made(tmp_path, given, error, words):
    output = tmp_path / "x"
    config = BuildConfig(data=DataConfig(root="DATA"), latency_cap_ms=(40.0,), output=str(output), teacher=given)
    with pytest.raises(error, match=words):
        build(config)
    assert not (output / "build.jsonl").exists()


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("torchvision:ssdlite320_mobilenet_v3_large", ValueError, "found none; where `ofa-det label` has options"),
    ],
)
def test_what_cannot_teach_is_said_before_anything_trains(tiny_root, tmp_path, necked_space, given, error, words):
    with pytest.raises(error, match=words):
        planned(tiny_root, tmp_path, necked_space, teacher=given)
