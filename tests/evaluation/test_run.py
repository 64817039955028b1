import hashlib
import json
from dataclasses import replace

import pytest

from ofa_det.artefacts.manifest import EvaluationRecord
from ofa_det.artefacts.records import read_record
from ofa_det.data.images import read_image
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.metrics import coco_metrics
from ofa_det.evaluation.run import EvaluateConfig, evaluate
from ofa_det.evaluation.subnets import SubnetScorer
from ofa_det.models.run_folder import save_model


@pytest.fixture(scope="module")
def model(supernet, tiny_space, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    subnet = tiny_space.smallest()
    save_model(folder, replace(supernet.description, subnet=subnet), supernet.network.extract(subnet))
    return folder


def test_the_files_say_what_was_measured_on_what(model, generated_root, tmp_path):
    data = DataConfig(root=str(generated_root))
    metrics = evaluate(EvaluateConfig(model=str(model), data=data, output=str(tmp_path)), progress=False)
    record = read_record(tmp_path / "metrics.json", EvaluationRecord)
    assert record == EvaluationRecord(
        **vars(metrics.record),
        model=str(model),
        model_sha256=hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest(),
        data_root=str(generated_root),
        split="val",
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


def test_a_subnet_of_a_supernet_is_scored_as_a_search_scores_it(supernet, tiny_space, generated_root, tmp_path):
    data = DataConfig(root=str(generated_root), holdout_fraction=0.25)
    description = replace(supernet.description, holdout_fraction=0.25)
    save_model(tmp_path, description, supernet.network)
    config = EvaluateConfig(
        model=str(tmp_path), data=data, calibration_images=4, split="holdout", output=str(tmp_path / "out")
    )
    scorer = SubnetScorer(
        description, calibration=open_split(data, "fit"), calibration_images=4, scored=open_split(data, "holdout")
    )
    for subnet in (tiny_space.smallest(), tiny_space.largest()):
        wanted = scorer.score(scorer.predictor(supernet.network, subnet))
        assert evaluate(replace(config, subnet=str(subnet)), progress=False) == wanted
    assert evaluate(config, progress=False) == wanted


def test_a_subnet_is_of_a_supernet(model, tiny_space, generated_root):
    config = EvaluateConfig(
        model=str(model), data=DataConfig(root=str(generated_root)), subnet=str(tiny_space.smallest())
    )
    with pytest.raises(ValueError, match="expected --subnet with the run folder of a supernet"):
        evaluate(config, progress=False)
    with pytest.raises(ValueError, match="expected calibration_images >= 2, found 1"):
        replace(config, calibration_images=1)


def test_a_mistake_leaves_nothing_behind(model, generated_root, tmp_path):
    data = DataConfig(root=str(generated_root))
    config = EvaluateConfig(model=str(tmp_path / "none"), data=data, output=str(tmp_path / "out"))
    with pytest.raises(FileNotFoundError, match="found nothing at"):
        evaluate(config, progress=False)
    with pytest.raises(FileNotFoundError, match="found nothing at"):
        evaluate(replace(config, model=str(model), compare=str(tmp_path / "none")), progress=False)
    assert not (tmp_path / "out").exists()
