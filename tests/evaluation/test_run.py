import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from saved_supernets import write_supernet

from ofa_det.arch.description import PostProcessChange
from ofa_det.artefacts.manifest import EvaluationRecord
from ofa_det.artefacts.model_file import read_description
from ofa_det.artefacts.records import read_record
from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.images import read_image
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.metrics import coco_metrics
from ofa_det.evaluation.run import EvaluateConfig, evaluate
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.models.run_folder import load_supernet, save_model


@pytest.fixture(scope="module")
def model(supernet, tiny_space, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    subnet = tiny_space.smallest()
    save_model(folder, replace(supernet.description, subnet=subnet), supernet.network.extract(subnet))
    return folder


def test_the_files_say_what_was_measured_on_what(model, tiny_space, generated_root, tmp_path):
    data = DataConfig(root=str(generated_root))
    metrics = evaluate(EvaluateConfig(model=str(model), data=data, output=str(tmp_path)), progress=False)
    record = read_record(tmp_path / "metrics.json", EvaluationRecord)
    assert record == EvaluationRecord(
        **vars(metrics.record),
        model=str(model),
        model_sha256=hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest(),
        subnet=str(tiny_space.smallest()),
        calibration_images=None,
        data_root=str(generated_root),
        split="val",
        images_sha256=open_split(data, "val").fingerprint(),
    )
    assert record.images == 6
    detections = json.loads((tmp_path / "detections.json").read_text())
    assert coco_metrics(open_split(data, "val").ground_truth(), detections).record == metrics.record


def test_another_model_stands_beside_it_in_the_picture(model, generated_root, tmp_path):
    data = DataConfig(root=str(generated_root), limit=1)
    config = EvaluateConfig(model=str(model), data=data, output=str(tmp_path / "one"))
    evaluate(config, progress=False)
    evaluate(replace(config, compare=f"{model}/.", output=str(tmp_path / "two")), progress=False)
    widths = [read_image(tmp_path / name / "contact_sheet.jpg").shape[1] for name in ("one", "two")]
    assert widths[1] - widths[0] == 280 + 4


@pytest.fixture
def save_trained(supernet, generated_root, tmp_path):
    """Saves the supernet as one that was trained on all but a fraction of the images."""

    def save(name, holdout_fraction):
        data = DataConfig(root=str(generated_root), holdout_fraction=holdout_fraction)
        description = replace(
            supernet.description,
            holdout_fraction=holdout_fraction,
            training_images=open_split(data, "fit").fingerprint(),
        )
        write_supernet(tmp_path / name, description, supernet.network)
        return str(tmp_path / name)

    return save


@pytest.mark.parametrize("stated_fraction", [0.0, 0.25])
def test_a_subnet_of_a_supernet_is_scored_as_a_search_scores_it(
    supernet, save_trained, tiny_space, generated_root, tmp_path, stated_fraction
):
    data = DataConfig(root=str(generated_root), holdout_fraction=0.25)
    config = EvaluateConfig(
        model=save_trained("supernet", 0.25),
        data=replace(data, holdout_fraction=stated_fraction),
        calibration_images=4,
        split="holdout",
        output=str(tmp_path / "out"),
    )
    holdout = open_split(data, "holdout")
    scorer = SubnetScorer(
        supernet.description,
        calibration=open_split(data, "fit"),
        augmentation=AugmentationConfig(),
        calibration_images=4,
        scored=holdout,
    )
    for subnet in (tiny_space.smallest(), tiny_space.largest()):
        wanted = scorer.score(scorer.predictor(supernet.network, subnet))
        assert evaluate(replace(config, subnet=str(subnet)), progress=False) == wanted
    assert evaluate(config, progress=False) == wanted
    record = read_record(tmp_path / "out/metrics.json", EvaluationRecord)
    assert (record.subnet, record.calibration_images) == (str(tiny_space.largest()), 4)
    assert record.images_sha256 == holdout.fingerprint()


def test_a_supernet_is_evaluated_with_the_data_of_its_training_alone(save_trained, generated_root, tmp_path):
    config = EvaluateConfig(
        model=save_trained("supernet", 0.25),
        data=DataConfig(root=str(generated_root)),
        calibration_images=4,
        output=str(tmp_path / "out"),
    )
    with pytest.raises(ValueError, match=r"holdout_fraction 0\.25, that of .*supernet, found 0\.5; leave it out"):
        evaluate(replace(config, data=replace(config.data, holdout_fraction=0.5)), progress=False)
    with pytest.raises(ValueError, match="held-out images may have been trained on"):
        evaluate(replace(config, data=replace(config.data, limit=8)), progress=False)
    other = tmp_path / "other"
    shutil.copytree(generated_root, other)
    for path in (other / "annotations").iterdir():
        path.write_text(path.read_text().replace('"circle"', '"wheel"'))
    with pytest.raises(ValueError, match=r"categories of .*supernet in .*'wheel'"):
        evaluate(replace(config, data=DataConfig(root=str(other))), progress=False)
    assert not (tmp_path / "out").exists()


def test_another_supernet_is_compared_with_its_own_data_and_largest_subnet(
    save_trained, model, tiny_space, generated_root, tmp_path, monkeypatch
):
    """It held out another part, and `--subnet` is not its."""
    shown = []
    monkeypatch.setitem(
        evaluate.__globals__,
        "contact_sheet",
        lambda _, predictors: shown.append(predictors) or np.zeros((8, 8, 3), "u1"),
    )
    config = EvaluateConfig(
        model=save_trained("one", 0.25),
        subnet=str(tiny_space.smallest(96)),
        compare=save_trained("two", 0.5),
        data=DataConfig(root=str(generated_root)),
        calibration_images=4,
        output=str(tmp_path / "out"),
    )
    evaluate(config, progress=False)
    evaluate(replace(config, model=str(model), subnet=None), progress=False)
    for predictors in shown:
        predictor = predictors["/".join(Path(config.compare).parts[-2:])]
        image = np.zeros((1, *predictor.input_size, 3), np.uint8)
        wanted = SubnetScorer(
            read_description(config.compare),
            calibration=open_split(replace(config.data, holdout_fraction=0.5), "fit"),
            augmentation=AugmentationConfig(),
            calibration_images=4,
            scored=open_split(config.data, "val"),
        ).predictor(load_supernet(config.compare).network, tiny_space.largest())
        np.testing.assert_array_equal(predictor.predict(image)[0].scores, wanted.predict(image)[0].scores)


def test_a_subnet_is_of_a_supernet(model, tiny_space, generated_root):
    config = EvaluateConfig(
        model=str(model), data=DataConfig(root=str(generated_root)), subnet=str(tiny_space.smallest())
    )
    with pytest.raises(ValueError, match="expected --subnet with the run folder of a supernet"):
        evaluate(config, progress=False)
    with pytest.raises(ValueError, match="expected calibration_images >= 2, found 1"):
        replace(config, calibration_images=1)


def test_other_settings_are_used_and_recorded(model, supernet, tiny_space, generated_root, tmp_path):
    config = EvaluateConfig(
        model=str(model),
        data=DataConfig(root=str(generated_root)),
        nms=PostProcessChange(max_detections=3, iou_threshold=0.25),
        output=str(tmp_path),
    )
    metrics = evaluate(config, progress=False)
    assert metrics.record.detections == 3 * metrics.record.images
    assert read_record(tmp_path / "metrics.json", EvaluationRecord).postprocess == config.nms
    changed = replace(supernet.description, subnet=tiny_space.smallest())
    changed = replace(changed, postprocess=replace(changed.postprocess, max_detections=3, iou_threshold=0.25))
    save_model(tmp_path / "changed", changed, supernet.network.extract(tiny_space.smallest()))
    as_saved = replace(config, model=str(tmp_path / "changed"), nms=PostProcessChange())
    assert evaluate(as_saved, progress=False) == metrics


def test_a_subnet_of_a_supernet_takes_other_settings_too(save_trained, generated_root, tmp_path):
    config = EvaluateConfig(
        model=save_trained("supernet", 0.25),
        data=DataConfig(root=str(generated_root)),
        calibration_images=4,
        nms=PostProcessChange(max_detections=2),
        output=str(tmp_path / "out"),
    )
    assert evaluate(config, progress=False).record.detections == 2 * 6


@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
def test_a_file_is_run_side_by_side_with_the_same_detections(write_detector, generated_root, tmp_path, engine):
    """Detections that depend on the order of images would change the numbers."""
    path = write_detector([[0.4, 0.4, 0.3, 0.3], [0.6, 0.6, 0.2, 0.2]], [[0.9, 0.2], [0.3, 0.8]])
    config = EvaluateConfig(model=str(path), data=DataConfig(root=str(generated_root)), output=str(tmp_path / "out"))
    alone, together, threaded = (
        evaluate(replace(config, workers=workers, threads=threads, engine=engine), progress=False)
        for workers, threads in ((1, 1), (3, 1), (0, 2))
    )
    assert alone == together == threaded
    assert alone.record.detections == 6 * 4


@pytest.mark.parametrize("change", [{"workers": -1}, {"threads": 0}])
def test_numbers_of_workers_and_threads_are_checked(model, generated_root, change):
    with pytest.raises(ValueError, match="expected workers >= 0 and threads >= 1"):
        EvaluateConfig(model=str(model), data=DataConfig(root=str(generated_root)), **change)


def test_a_mistake_leaves_nothing_behind(model, generated_root, tmp_path):
    data = DataConfig(root=str(generated_root))
    config = EvaluateConfig(model=str(tmp_path / "none"), data=data, output=str(tmp_path / "out"))
    with pytest.raises(FileNotFoundError, match="found nothing at"):
        evaluate(config, progress=False)
    with pytest.raises(FileNotFoundError, match="found nothing at"):
        evaluate(replace(config, model=str(model), compare=str(tmp_path / "none")), progress=False)
    assert not (tmp_path / "out").exists()


def test_a_supernet_without_its_options_is_not_scored(save_trained, generated_root, tmp_path):
    supernet = save_trained("supernet", 0.25)
    config = EvaluateConfig(
        model=supernet, data=DataConfig(root=str(generated_root)), split="holdout", output=str(tmp_path / "out")
    )
    (Path(supernet) / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(ValueError, match=r"options of a training, with augmentation, in .*config\.yaml, found none"):
        evaluate(config, progress=False)
    (Path(supernet) / "config.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.yaml"):
        evaluate(config, progress=False)
