import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.search_space import SearchSpace
from ofa_det.data.categories import Category
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.detection.box_coder import encode
from ofa_det.detection.output import DetectorOutput
from ofa_det.detection.postprocessing import PostProcessConfig
from ofa_det.evaluation.predictors import model_categories, model_sha256, open_predictor
from ofa_det.evaluation.scoring import evaluate
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.models.detector import Detector
from ofa_det.models.run_folder import ModelDescription, save_model

CATEGORIES = (Category(id=2, name="circle"), Category(id=24, name="star"))
SHARED = Path(__file__).parents[2] / "../shared"


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(0)
    return Detector(DetectorConfig(num_classes=2), SearchSpace().smallest(64))


def test_outputs_become_detections_with_category_ids(detector, monkeypatch):
    """Of a made-up output: two anchors on one object, one on another of the other class, the rest silent."""
    wanted = torch.tensor([[0.1, 0.2, 0.5, 0.6], [0.6, 0.1, 0.9, 0.4]])
    anchors = detector.anchors
    codes = torch.zeros(1, len(anchors), 4)
    logits = torch.full((1, len(anchors), 2), -10.0)
    for anchor, (target, label, logit) in {3: (0, 1, 2.0), 5: (0, 1, 1.0), 9: (1, 0, 0.0)}.items():
        codes[0, anchor] = encode(wanted[target], anchors[anchor])
        logits[0, anchor, label] = logit
    monkeypatch.setattr(detector, "forward", lambda images: DetectorOutput(codes, logits))
    predictor = TorchDetector(detector, CATEGORIES, PostProcessConfig(score_threshold=0.1))
    (found,) = predictor.predict(np.zeros((1, 64, 64, 3), np.uint8))
    np.testing.assert_allclose(found.boxes, wanted, atol=1e-5)
    np.testing.assert_allclose(found.scores, torch.tensor([2.0, 0.0]).sigmoid(), rtol=1e-6)
    assert found.category_ids.tolist() == [24, 2]


def test_batches_do_not_matter_and_batch_norm_stays(detector):
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    predictor = TorchDetector(detector.train(), CATEGORIES, PostProcessConfig(score_threshold=0))
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    together = predictor.predict(images)
    alone = [predictor.predict(image[None])[0] for image in images]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


def test_wrong_input_and_categories_are_refused(detector):
    with pytest.raises(ValueError, match="expected 2 categories, found 1"):
        TorchDetector(detector, CATEGORIES[:1])
    with pytest.raises(ValueError, match="expected uint8"):
        TorchDetector(detector, CATEGORIES).predict(np.zeros((1, 32, 64, 3), np.uint8))


def test_a_run_folder_is_opened_with_its_categories(detector, tmp_path):
    description = ModelDescription(detector=detector.config, architecture=detector.subnet, categories=CATEGORIES)
    save_model(tmp_path, description, detector.state_dict())
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    postprocess = PostProcessConfig()
    (expected,) = TorchDetector(detector, CATEGORIES, postprocess).predict(images)
    (found,) = open_predictor(tmp_path).predict(images)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert model_categories(tmp_path) == CATEGORIES
    assert model_sha256(tmp_path) == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()


def test_paths_that_hold_no_detector_are_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a run folder, \.onnx or \.tflite file, found nothing at"):
        open_predictor(tmp_path / "none.tflite")
    with pytest.raises(FileNotFoundError, match=r"expected a run folder with model\.safetensors"):
        open_predictor(tmp_path)
    (tmp_path / "a.pth").touch()
    with pytest.raises(ValueError, match=r"expected a run folder, .onnx or .tflite file, found .*a\.pth"):
        open_predictor(tmp_path / "a.pth")


def test_names_come_from_labels_and_manifest(tmp_path):
    model, labels = tmp_path / "a.tflite", tmp_path / "labels.txt"
    assert model_categories(model) == ()
    labels.write_text("person\n???\ncar\n")
    assert model_categories(model) == (Category(id=1, name="person"), Category(id=3, name="car"))
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"class_category_ids": [0, None, 7]}))
    assert model_categories(model) == (Category(id=0, name="person"), Category(id=7, name="car"))
    manifest.write_text(json.dumps({"class_category_ids": [0]}))
    with pytest.raises(ValueError, match=r"expected 1 labels in .*labels\.txt, .* found 3"):
        model_categories(model)
    with pytest.raises(FileNotFoundError, match="expected a list of labels"):
        model_categories(model, labels=tmp_path / "none.txt")


@pytest.mark.slow
def test_the_published_peer_scores_what_was_published():
    model, root = SHARED / "peers/coco_ssd_mobilenet_v1_quant.tflite", SHARED / "data/mini_coco"
    if not (model.exists() and root.exists()):
        pytest.skip("needs the peer model and mini_coco beside the checkout")
    metrics = evaluate(open_predictor(model), open_split(DataConfig(root=str(root)), "val"))
    assert metrics.ap == pytest.approx(0.175, abs=0.01)
    assert metrics.ap50 == pytest.approx(0.304, abs=0.01)
