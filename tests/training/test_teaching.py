"""Stored labels in training: whose they are, when they speak, and how often images without annotations come."""

import json
from pathlib import Path

import numpy as np
import pytest

from ofa_det.arch.classes import Category
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.draws import Draw
from ofa_det.data.loading import training_loader
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.teachers.config import LabelConfig
from ofa_det.teachers.feature_file import FeatureConfig
from ofa_det.teachers.label_file import LABELS_NAME, LabelHeader, TeacherLabels, quantised
from ofa_det.teachers.mapping import CategoryMapping
from ofa_det.teachers.run import label
from ofa_det.teachers.source import TeacherSource
from ofa_det.training.run import train
from ofa_det.training.teaching import TeacherConfig, UnlabelledConfig, open_taught, with_share

PLAIN = AugmentationConfig(horizontal_flip=0, zoom=0, colour_jitter=0, hue_jitter=0)
BOX = (0.25, 0.25, 0.5, 0.75)


def write_labels(folder: Path, dataset: CocoDataset, *, categories: tuple[Category, ...], score: float = 0.8) -> str:
    """One box in every image: of the first category with `score`, of the second with a quarter of it."""
    count = len(dataset)
    mapping = CategoryMapping(
        categories=categories, columns=tuple((n,) for n in range(len(categories))), dropped=(), missing=()
    )
    labels = TeacherLabels(
        header=LabelHeader(
            teacher=(TeacherSource(name="t", kind="run_folder", sha256="0", classes="given"),),
            licence="",
            mapping=mapping,
            images_sha256=dataset.fingerprint(),
            views=0,
            seed=0,
            augmentation=None,
            top_classes=2,
        ),
        image_ids=np.array([dataset.image_id(n) for n in range(count)], np.int64),
        file_names=tuple(dataset.file_name(n) for n in range(count)),
        image_sizes=dataset.image_sizes.astype(np.int32),
        readable=np.ones(count, np.uint8),
        counts=np.ones((count, 1), np.uint16),
        boxes=quantised(np.tile(np.array(BOX, np.float32), (count, 1))),
        classes=np.tile(np.array([0, 1], np.uint8), (count, 1)),
        scores=np.tile(np.array([score, score / 4], np.float16), (count, 1)),
        windows=np.zeros((count, 0, 4), np.int32),
        flips=np.zeros((count, 0, 2), np.uint8),
    )
    labels.write(folder / LABELS_NAME)
    return str(folder)


@pytest.fixture(scope="module")
def dataset(tiny_root: Path) -> CocoDataset:
    return open_split(DataConfig(root=str(tiny_root)), "train")


@pytest.fixture(scope="module")
def labels(dataset: CocoDataset, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_labels(tmp_path_factory.mktemp("labels"), dataset, categories=dataset.categories)


def test_without_labels_nothing_changes(dataset):
    images = open_taught(TeacherConfig(), PLAIN, dataset)
    assert images == (dataset, None, None, len(dataset))


def test_labels_reach_the_batches(dataset, labels):
    config = TeacherConfig(labels=labels, labelled_object_score=0.5, match_iou=0.99)
    images = open_taught(config, PLAIN, dataset)
    (batch,) = training_loader(
        images.dataset,
        batch_size=len(dataset),
        first_step=0,
        num_steps=1,
        resolution_of_step=lambda step: 64,
        seed=0,
        augmentation=PLAIN,
        teacher=images.teacher,
    )
    for boxes, scores in zip(batch.boxes, batch.class_scores, strict=True):
        np.testing.assert_allclose(boxes[-1], BOX, atol=1e-4)
        np.testing.assert_allclose(scores[-1], [0.8, 0.2, *[0] * (len(dataset.categories) - 2)], atol=1e-3)
        np.testing.assert_array_equal(scores[:-1].max(dim=1).values, 1)  # Annotations that nothing matches.


def test_a_teacher_may_be_silent_at_the_end(dataset, labels):
    config = TeacherConfig(labels=labels, labelled_object_score=0.5, match_iou=0.99, in_closing_phase=False)
    teacher = open_taught(config, PLAIN, dataset).teacher
    annotations = dataset.annotations(0)
    for phase, more in (("main", 1), ("closing", 0)):
        drawn = Draw(indices=(0,), seed=1, resolution=64, phase=phase)
        assert len(teacher.whole(drawn, 0, annotations)) == len(annotations) + more


def test_images_without_annotations_have_the_teachers_objects(dataset, tiny_root, tmp_path):
    """Their labels may have other categories; those of the same name count."""
    other = (Category(id=9, name="unknown"), dataset.categories[1])
    folder = write_labels(tmp_path, dataset, categories=other)
    config = TeacherConfig(
        unlabelled=(UnlabelledConfig(images=str(tiny_root / "train2017"), labels=folder),), object_score=0.1
    )
    images = open_taught(config, PLAIN, dataset)
    assert (len(images.dataset), images.num_labelled) == (2 * len(dataset), len(dataset))
    number = len(dataset) + 3
    np.testing.assert_array_equal(images.dataset.image(number), dataset.image(3))
    assert len(images.dataset.annotations(number)) == 0
    drawn = Draw(indices=(number,), seed=1, resolution=64)
    found = images.teacher.whole(drawn, number, images.dataset.annotations(number))
    assert found.labels.tolist() == [1]
    np.testing.assert_allclose(found.class_scores[0, :2], [0, 0.2], atol=1e-3)
    assert images.teacher.whole(drawn, 0, dataset.annotations(0)).class_scores is None


def test_labels_of_other_categories_are_refused(dataset, tmp_path):
    folder = write_labels(tmp_path, dataset, categories=dataset.categories[:2])
    with pytest.raises(ValueError, match="label that data set"):
        open_taught(TeacherConfig(labels=folder), PLAIN, dataset)


@pytest.mark.parametrize(("labelled", "others", "share"), [(4, 12, 0.5), (12, 4, 0.5), (6, 6, 0.25), (3, 1, 0.25)])
def test_shares(labelled, others, share):
    factors = with_share(np.ones(labelled + others), labelled, share)
    assert factors.min() == 1
    assert factors[labelled:].sum() / factors.sum() == pytest.approx(share)


def test_shares_outside_their_range_are_refused():
    with pytest.raises(ValueError, match="unlabelled_share"):
        TeacherConfig(unlabelled_share=1.0)


def test_training_with_a_teacher_gives_other_weights(new_config, labels, tmp_path):
    files = []
    for name, teacher in (("with", TeacherConfig(labels=labels)), ("without", TeacherConfig())):
        config = new_config(tmp_path / name, teacher=teacher, num_images=8)
        files.append(train(config, progress=False).model_file.read_bytes())
    assert files[0] != files[1]


@pytest.mark.parametrize("student_px", [96, 64])
def test_features_of_a_run_folder_are_imitated(new_config, tiny_space, tiny_root, tmp_path, student_px):
    """A detector labels its views and stores its maps; a training of any input imitates them, and its loss falls."""
    stored = tmp_path / "stored"
    teacher, data = str(tmp_path / "teacher"), DataConfig(root=str(tiny_root))
    train(new_config(Path(teacher), subnet=str(tiny_space.smallest(96)), seed=3), progress=False)
    views = {"views": 2, "augmentation": PLAIN, "features": FeatureConfig(strides=(16,), channels=8)}
    label(LabelConfig(teacher=teacher, data=data, output=str(stored), report=False, **views), progress=False)
    config = new_config(
        tmp_path / "student",
        subnet=str(tiny_space.smallest(student_px)),
        augmentation=PLAIN,
        teacher=TeacherConfig(labels=str(stored), feature_weight=1.0),
        num_images=160,
        learning_rate=5e-3,
    )
    train(config, progress=False)
    records = [json.loads(line) for line in (tmp_path / "student" / "metrics.jsonl").read_text().splitlines()]
    losses = [record["imitation_loss"] for record in records if "imitation_loss" in record]
    assert 0 < losses[-1] < losses[0] < 2
