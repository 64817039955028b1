from dataclasses import replace

import numpy as np
import pytest
import torch

from ofa_det.arch.description import PostProcessConfig
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.loading import DrawnImages
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation import subnets
from ofa_det.evaluation.run import EvaluateConfig, evaluate
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.models.calibration import calibrated, calibration_batches
from ofa_det.models.run_folder import save_model

AUGMENTATION = AugmentationConfig(vertical_flip=0.5)
CALIBRATION_IMAGES = 17  # A batch of 16, and one alone that has no statistics.


@pytest.fixture(scope="module")
def data(generated_root) -> DataConfig:
    return DataConfig(root=str(generated_root), holdout_fraction=0.25)


def scorer(description, data, **options) -> SubnetScorer:
    return SubnetScorer(
        description,
        **options,
        calibration=open_split(data, "fit"),
        augmentation=AUGMENTATION,
        calibration_images=CALIBRATION_IMAGES,
        scored=open_split(data, "holdout"),
    )


def test_a_score_equals_the_evaluation_of_the_detector_that_ships(supernet, tiny_space, data, tmp_path):
    """Whatever was scored before, at whichever resolution."""
    network, description, smallest = supernet.network, supernet.description, tiny_space.smallest()
    of_subnets = scorer(description, data)
    for number, subnet in enumerate((smallest, tiny_space.largest(), tiny_space.largest(64), smallest)):
        found = of_subnets.score(of_subnets.predictor(network, subnet))
        batches = calibration_batches(
            open_split(data, "fit"),
            subnet.resolution,
            num_images=CALIBRATION_IMAGES,
            read=DrawnImages(augmentation=AUGMENTATION),
        )
        folder = tmp_path / str(number)
        save_model(folder, replace(description, subnet=subnet), calibrated(network, subnet, batches))
        config = EvaluateConfig(model=str(folder), data=data, split="holdout", output=str(folder / "evaluation"))
        assert found == evaluate(config, progress=False)
        assert found.record.detections == 6 * description.postprocess.max_detections
        assert of_subnets.ap(network, subnet) == found.ap
        assert list(of_subnets.aps(network, [subnet, subnet])) == [found.ap, found.ap]


def test_suppression_is_that_of_the_description(supernet, tiny_space, data):
    few = replace(supernet.description, postprocess=PostProcessConfig(score_threshold=1e-9, max_detections=3))
    of_subnets = scorer(few, data)
    predictor = of_subnets.predictor(supernet.network, tiny_space.smallest())
    assert of_subnets.score(predictor).record.detections == 6 * 3


def test_the_supernet_is_not_changed(supernet, tiny_space, data):
    before = {name: value.clone() for name, value in supernet.network.state_dict().items()}
    scorer(supernet.description, data).ap(supernet.network, tiny_space.largest())
    assert all(torch.equal(value, before[name]) for name, value in supernet.network.state_dict().items())


def test_images_beyond_the_memory_are_read_again(supernet, tiny_space, data):
    network, subnet = supernet.network, tiny_space.smallest()
    kept = scorer(supernet.description, data)
    unkept = scorer(supernet.description, data, cache_bytes=0)
    results = [of.score(of.predictor(network, subnet)).results for of in (kept, kept, unkept, unkept)]
    assert results[0] == results[1] == results[2] == results[3]


def test_images_that_are_kept_are_decoded_once(supernet, tiny_space, data, monkeypatch):
    of_subnets = scorer(supernet.description, data)
    first = of_subnets.ap(supernet.network, tiny_space.smallest())
    monkeypatch.setattr(subnets, "image_batches", None)
    assert of_subnets.ap(supernet.network, tiny_space.smallest()) == first
    assert np.isfinite(of_subnets.ap(supernet.network, tiny_space.largest(64)))


def test_too_few_images_to_calibrate_with_are_refused(supernet, tiny_space, data):
    one = open_split(data, "fit").subset(np.array([0]))
    of_subnets = SubnetScorer(
        supernet.description, calibration=one, augmentation=AUGMENTATION, calibration_images=4, scored=one
    )
    with pytest.raises(ValueError, match=r"at least 2 images to calibrate batch norm with, found 1"):
        of_subnets.ap(supernet.network, tiny_space.smallest())


def test_int8_scores_the_detector_as_its_file_computes(supernet, tiny_space, data):
    of_subnets = scorer(supernet.description, data, precision="int8")
    floats, subnet = scorer(supernet.description, data), tiny_space.smallest()
    found, plain = (one.metrics(supernet.network, subnet).results for one in (of_subnets, floats))
    assert found != plain
    shifts = [abs(a["score"] - b["score"]) for a, b in zip(found, plain, strict=False)]
    assert 0 < sum(shifts) / len(shifts) < 0.05
    with pytest.raises(ValueError, match="a precision of float32, int8, found 'int4'"):
        scorer(supernet.description, data, precision="int4")
