from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, replace

import pytest

from ofa_det.artefacts.manifest import MANIFEST_FILE, Manifest, read_manifest
from ofa_det.artefacts.records import read_record, write_record
from ofa_det.data.splits import open_split
from ofa_det.evaluation.predictors import model_categories, open_predictor
from ofa_det.evaluation.scoring import score
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.export.config import ExportConfig
from ofa_det.export.run import export
from ofa_det.latency.tflite_file import read_tflite
from ofa_det.models.run_folder import save_model
from ofa_det.submission.validation import validate_submission


@pytest.fixture(scope="module")
def config(trained, shapes_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_model(folder / "det", trained.description, trained.network)
    (folder / "det/config.yaml").write_text("seed: 3\nschedule: {num_images: 8}\n")
    return ExportConfig(
        model=str(folder / "det"),
        data=shapes_config,
        output=str(folder / "export"),
        calibration_images=8,
        verification_images=4,
    )


@pytest.fixture(scope="module")
def result(config):
    return export(config, progress=False)


@pytest.fixture(scope="module")
def manifest(result):
    return read_manifest(result.model_path)


@pytest.mark.tflite
def test_the_folder_describes_itself(config, result, manifest, trained):
    output = result.model_path.parent
    assert sorted(path.name for path in output.iterdir()) == ["labels.txt", "manifest.json", "model.tflite"]
    content = result.model_path.read_bytes()
    assert manifest.model.bytes == len(content)
    assert manifest.model.sha256 == hashlib.sha256(content).hexdigest()
    assert (manifest.source.run_folder, manifest.source.config) == (
        config.model,
        {"seed": 3, "schedule": {"num_images": 8}},
    )
    assert manifest.export == asdict(config)
    assert manifest.input.quantization == {"scale": 1 / 128, "zero_point": 128}
    assert manifest.quantization.calibration_images == 8
    assert manifest.verification["images"] == 4
    assert manifest.network.categories == trained.description.categories
    assert model_categories(result.model_path) == trained.description.categories
    validate_submission(result.model_path).require(output)


@pytest.mark.tflite
def test_suppression_is_that_of_the_description(result, manifest, trained, images):
    assert manifest.postprocess == trained.description.postprocess
    assert manifest.outputs[0].shape == (1, trained.description.postprocess.max_detections, 4)
    (found,) = open_predictor(result.model_path).predict(images[0][None])
    assert len(found) > 0
    assert found.scores.min() >= trained.description.postprocess.score_threshold


@pytest.mark.tflite
def test_the_manifest_comes_back_the_same(manifest, tmp_path):
    write_record(tmp_path / MANIFEST_FILE, manifest)
    assert read_record(tmp_path / MANIFEST_FILE, Manifest) == manifest


@pytest.mark.tflite
def test_counts_are_those_of_the_file_and_of_the_plan(result, manifest, trained):
    network = read_tflite(result.model_path)
    plan = trained.description.shipped_plan(trained.network.subnet)
    counts = manifest.network.macs, manifest.network.parameters
    assert trained.description.columns.has_unused
    assert counts == (network.macs, sum(layer.parameters for layer in network.layers))
    assert counts == (plan.macs, plan.parameters)
    assert counts == (result.latency.macs, result.latency.parameters)
    assert manifest.network.anchors == plan.num_anchors


@pytest.mark.tflite
def test_accuracy_and_latency_are_those_of_the_file(config, result, manifest, trained):
    validation = open_split(config.data, "val")
    accuracy = manifest.accuracy
    assert accuracy.images_sha256 == validation.fingerprint()
    assert accuracy.before == score(TorchDetector(trained.network, trained.description), validation).record
    assert accuracy.after == score(open_predictor(result.model_path), validation).record == result.after.record
    assert accuracy.ap_change == accuracy.after.AP - accuracy.before.AP
    assert manifest.latency == result.latency.entry()
    assert manifest.latency.mean_ms > manifest.latency.error_ms > 0
    assert manifest.latency.precision == "uint8"


@pytest.mark.tflite
def test_another_export_takes_the_place_of_the_first(config, result, trained, tmp_path):
    """Of another format, whose files would otherwise lie beside it."""
    (tmp_path / "model.onnx").write_bytes(b"old")
    (tmp_path / "note.txt").write_text("mine")
    changes = {"format": "tflite-float32", "runtime": "xnnpack-2020"}
    second = export(replace(config, **changes, output=str(tmp_path)), progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "labels.txt",
        "manifest.json",
        "model.tflite",
        "note.txt",
    ]
    manifest = read_manifest(second.model_path)
    assert (manifest.format, manifest.quantization, manifest.latency.precision) == ("tflite-float32", None, "float32")
    assert (manifest.latency.device, manifest.latency.runtime) == ("pixel2", "xnnpack-2020")
    assert manifest.network == read_manifest(result.model_path).network
    assert second.after.ap == pytest.approx(second.before.ap, abs=1e-4)


@pytest.mark.slow
def test_an_onnx_file_has_no_unused_columns_and_no_latency(config, trained, tmp_path):
    result = export(replace(config, format="onnx", output=str(tmp_path)), progress=False)
    manifest = read_manifest(result.model_path)
    plan = trained.network.plan(trained.network.subnet).folded()
    assert (manifest.network.macs, manifest.network.parameters) == (plan.macs, plan.parameters)
    assert manifest.class_category_ids == tuple(category.id for category in trained.description.categories)
    assert (manifest.latency, manifest.quantization, result.latency) == (None, None, None)
    assert result.after.ap == pytest.approx(result.before.ap, abs=1e-4)
    assert model_categories(result.model_path) == trained.description.categories


def test_a_folder_without_a_model_leaves_nothing_behind(config, tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a run folder"):
        export(replace(config, model=str(tmp_path), output=str(tmp_path / "out")), progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.tflite
def test_a_fall_of_ap_is_warned_of(config, result, tmp_path, caplog, monkeypatch):
    scores = (replace(result.before, record=replace(result.before.record, AP=ap)) for ap in (0.5, 0.3))
    monkeypatch.setitem(export.__globals__, "score", lambda *_args, **_options: next(scores))
    with caplog.at_level(logging.WARNING):
        export(replace(config, ap_tolerance=0.1, output=str(tmp_path)), progress=False)
    assert "AP fell from 0.500 to 0.300" in caplog.text


@pytest.mark.parametrize(
    ("changes", "found"), [({"device": "pixel9"}, "'pixel9'"), ({"runtime": "xnnpack-2020"}, "'xnnpack-2020'")]
)
def test_a_latency_that_cannot_be_predicted_is_refused_at_once(config, tmp_path, changes, found):
    with pytest.raises(ValueError, match=f"found {found}"):
        export(replace(config, **changes, output=str(tmp_path / "out")), progress=False)
    assert not (tmp_path / "out").exists()
