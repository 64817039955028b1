from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import get_model

from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.data.generated import CATEGORIES
from ofa_det.data.images import stretch
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import save_model
from ofa_det.models.supernet import Supernet
from ofa_det.teachers.opening import open_teacher
from ofa_det.teachers.teacher import IOU_THRESHOLD, MAX_DETECTIONS, MIN_SCORE
from ofa_det.teachers.torch_teachers import open_torchvision

NAME = "ssdlite320_mobilenet_v3_large"
IMAGES = [np.random.default_rng(n).integers(0, 256, (40 + 10 * n, 60, 3), dtype=np.uint8) for n in range(2)]


def description(space: SearchSpace, *, supernet: bool = False) -> ModelDescription:
    return ModelDescription(
        detector=DetectorConfig.of(space, num_classes=len(CATEGORIES), anchor_sizes=ssd_anchor_sizes()),
        subnet=None if supernet else space.largest(),
        categories=CATEGORIES,
        postprocess=PostProcessConfig(
            score_threshold=MIN_SCORE,
            iou_threshold=IOU_THRESHOLD,
            max_detections=MAX_DETECTIONS,
            detections_per_class=MAX_DETECTIONS,
            regular_nms=False,
        ),
    )


def test_a_run_folder_is_a_teacher_with_scores_of_all_classes(tiny_space: SearchSpace, tmp_path: Path) -> None:
    torch.manual_seed(0)
    known = description(tiny_space)
    network = Detector(known.detector, tiny_space.largest())
    save_model(tmp_path / "largest", known, network)
    opened = open_teacher(str(tmp_path / "largest"))
    assert opened.teacher.categories == CATEGORIES
    assert [(source.kind, source.name) for source in opened.sources] == [("run_folder", "largest")]
    found = opened.teacher.detect(IMAGES)
    assert (found[0].scores > 0).all()
    # The best scores are those that an evaluation gives, which suppresses across classes here.
    predictor = TorchDetector(network, known)
    expected = predictor.predict(np.stack([stretch(image, predictor.input_size) for image in IMAGES]))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.scores[0].max() == pytest.approx(theirs.scores[0], abs=1e-5)
    assert opened.teacher.detect([]) == []


def test_a_supernet_is_refused(tiny_space: SearchSpace, tmp_path: Path) -> None:
    known = description(tiny_space, supernet=True)
    save_model(tmp_path / "supernet", known, Supernet(known.detector))
    with pytest.raises(ValueError, match="found a supernet; search a subnet and fine-tune it"):
        open_teacher(str(tmp_path / "supernet"))


def test_torchvision_takes_the_number_of_classes_from_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = get_model(NAME, weights=None, weights_backbone=None, num_classes=4).eval()
    weights = tmp_path / "weights.pth"
    torch.save({"model": model.state_dict()}, weights)
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\n")
    opened = open_teacher(f"torchvision:{NAME}", weights=str(weights))
    assert [category.name for category in opened.teacher.categories] == ["cat", "dog", "bird"]
    assert opened.sources[0].name == f"{NAME} weights.pth"
    model.score_thresh = MIN_SCORE
    with torch.inference_mode():
        expected = model([torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in IMAGES])
    for image, found, theirs in zip(IMAGES, opened.teacher.detect(IMAGES), expected, strict=True):
        height, width = image.shape[:2]
        assert len(found)
        best = theirs["scores"].argmax()
        box = theirs["boxes"][best].numpy() / [width, height, width, height]
        assert found.boxes[0] == pytest.approx(box, abs=1e-5)
        assert found.scores[0].argmax() == theirs["labels"][best] - 1
        assert (np.count_nonzero(found.scores, axis=1) == 1).all()


def test_mistakes_about_torchvision_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected torchvision:NAME of fasterrcnn_.*, found 'yolo'"):
        open_teacher("torchvision:yolo")
    with pytest.raises(ValueError, match="expected --weights with a file"):
        open_teacher(f"torchvision:{NAME}")
    with pytest.raises(FileNotFoundError, match="expected a file of weights"):
        open_teacher(f"torchvision:{NAME}", weights="none.pth")
    weights = tmp_path / "weights.pth"
    for content, message in (
        (b"text", "expected a state dict in"),
        ([1], "found list"),
        ({"a": torch.zeros(2)}, "found none of its class predictors"),
    ):
        if isinstance(content, bytes):
            weights.write_bytes(content)
        else:
            torch.save(content, weights)
        with pytest.raises(ValueError, match=message):
            open_torchvision(NAME, weights=str(weights), labels=None, accelerator=torch.device("cpu"))
