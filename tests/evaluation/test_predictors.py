from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ofa_det.arch.classes import Category
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.predictors import model_categories, open_predictor
from ofa_det.evaluation.scoring import score
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.models.run_folder import save_model

SHARED = Path(__file__).parents[2] / "../shared"


def test_a_run_folder_is_opened_with_its_categories_and_suppression(supernet, tiny_space, tmp_path):
    subnet = tiny_space.smallest()
    detector = supernet.network.extract(subnet)
    description = replace(supernet.description, subnet=subnet)
    save_model(tmp_path, description, detector)
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    (expected,) = TorchDetector(detector, description).predict(images)
    (found,) = open_predictor(tmp_path).predict(images)
    assert len(found) == description.postprocess.max_detections
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.category_ids, expected.category_ids)
    assert model_categories(tmp_path) == description.categories


def test_paths_that_hold_no_detector_are_refused(supernet, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a run folder, \.onnx or \.tflite file, found nothing at"):
        open_predictor(tmp_path / "none.tflite")
    with pytest.raises(FileNotFoundError, match=r"expected a run folder with model\.safetensors"):
        open_predictor(tmp_path)
    (tmp_path / "a.pth").touch()
    with pytest.raises(ValueError, match=r"expected a run folder, .onnx or .tflite file, found .*a\.pth"):
        open_predictor(tmp_path / "a.pth")
    save_model(tmp_path, supernet.description, supernet.network)
    with pytest.raises(ValueError, match="found a supernet; search a subnet"):
        open_predictor(tmp_path)


def test_an_accelerator_that_is_not_here_is_refused(supernet, tiny_space, tmp_path):
    subnet = tiny_space.smallest()
    save_model(tmp_path, replace(supernet.description, subnet=subnet), supernet.network.extract(subnet))
    with pytest.raises(ValueError, match=r"expected an accelerator .*, found 'abacus'"):
        open_predictor(tmp_path, accelerator="abacus")


def test_names_come_from_labels_and_manifest(tmp_path, write_manifest):
    model, labels = tmp_path / "a.tflite", tmp_path / "labels.txt"
    model.write_bytes(b"TFL3")
    assert model_categories(model) == ()
    labels.write_text("person\n???\ncar\n")
    assert model_categories(model) == (Category(id=1, name="person"), Category(id=3, name="car"))
    write_manifest(model, 0, None, 7)
    assert model_categories(model) == (Category(id=0, name="person"), Category(id=7, name="car"))
    write_manifest(model, 0)
    with pytest.raises(ValueError, match=r"expected 1 labels in .*labels\.txt, .* found 3"):
        model_categories(model)
    with pytest.raises(FileNotFoundError, match="expected a list of labels"):
        model_categories(model, labels=tmp_path / "none.txt")


@pytest.mark.slow
def test_the_published_peer_scores_what_was_published():
    model, root = SHARED / "peers/coco_ssd_mobilenet_v1_quant.tflite", SHARED / "data/mini_coco"
    if not (model.exists() and root.exists()):
        pytest.skip("needs the peer model and mini_coco beside the checkout")
    metrics = score(open_predictor(model), open_split(DataConfig(root=str(root)), "val"))
    assert metrics.ap == pytest.approx(0.175, abs=0.01)
    assert metrics.ap50 == pytest.approx(0.304, abs=0.01)
