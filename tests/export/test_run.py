from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.artefacts.manifest import MANIFEST_FILE, Manifest, read_manifest
from ofa_det.artefacts.records import read_record, to_plain, write_record
from ofa_det.data.loading import image_batches
from ofa_det.data.splits import open_split
from ofa_det.evaluation.predictors import model_categories, open_predictor
from ofa_det.evaluation.scoring import score
from ofa_det.evaluation.torch_detector import TorchDetector
from ofa_det.export.config import EndingConfig, ExportConfig
from ofa_det.export.run import export
from ofa_det.latency.predict import PredictLatencyConfig, predict_latency
from ofa_det.latency.tflite_file import read_tflite
from ofa_det.models.activation_ranges import calibrated_ranges
from ofa_det.models.fake_quantization import write_ranges
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
        compared_images=4,
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
    assert manifest.export == to_plain(config)
    assert manifest.input.quantization == {"scale": 1 / 128, "zero_point": 128}
    assert manifest.quantization.calibration_images == 8
    assert manifest.verification["images"] == min(4, len(open_split(config.data, "val")))
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
    assert trained.description.columns().has_unused
    assert counts == (network.macs, sum(layer.parameters for layer in network.layers))
    assert counts == (plan.macs, plan.parameters)
    assert counts == (result.latency.macs, result.latency.parameters)
    assert manifest.network.anchors == plan.num_anchors


@pytest.mark.tflite
def test_a_compact_file_of_one_class_has_one_column_whatever_its_id(config, randomised, tiny_space, images, tmp_path):
    """Where the competition's numbering has 90 of them."""
    description = ModelDescription(
        detector=DetectorConfig.of(tiny_space, num_classes=1, anchor_sizes=tiny_space.stock_anchors()),
        subnet=None,
        categories=(Category(id=90, name="toothbrush"),),
        postprocess=PostProcessConfig(score_threshold=0.05),
    )
    one = randomised(description, tiny_space.smallest(images[0].shape[0]))
    save_model(tmp_path / "det", one.description, one.network)
    changes = {"classes": "compact", "format": "tflite-float32", "verify": "none", "output": str(tmp_path / "export")}
    result = export(replace(config, model=str(tmp_path / "det"), **changes), progress=False)
    manifest = read_manifest(result.model_path)
    plan = one.network.plan(one.network.subnet)
    assert manifest.class_category_ids == (90,)
    assert (manifest.network.macs, result.latency.macs) == (plan.macs, plan.macs)
    asked = PredictLatencyConfig(model=str(tmp_path / "det"), precision="float32", classes="compact")
    (predicted,) = predict_latency(asked)
    assert predicted.prediction.mean_ms == result.latency.mean_ms
    assert one.description.shipped_plan(one.network.subnet).macs > plan.macs
    assert (result.model_path.parent / "labels.txt").read_text() == "toothbrush\n"
    assert model_categories(result.model_path) == one.description.categories
    found = open_predictor(result.model_path).predict(np.stack(images))
    wanted = TorchDetector(one.network, one.description).predict(np.stack(images))
    for ours, theirs in zip(found, wanted, strict=True):
        assert set(ours.category_ids.tolist()) == {90}
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)


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
def test_a_fall_of_ap_is_refused_and_leaves_nothing(config, result, tmp_path, monkeypatch):
    """But an earlier export, as it was."""
    scores = (replace(result.before, record=replace(result.before.record, AP=ap)) for ap in (0.5, 0.3) * 2)
    monkeypatch.setitem(export.__globals__, "score", lambda *_args, **_options: next(scores))
    changes = {"format": "tflite-float32", "ap_tolerance": 0.1}
    with pytest.raises(ValueError, match=r"10\.0 points by the export, found 50\.0 before and 30\.0 after on 3 im"):
        export(replace(config, **changes, output=str(tmp_path / "new")), progress=False)
    assert not (tmp_path / "new").exists()
    old = result.model_path.parent
    before = {path: path.read_bytes() for path in old.iterdir()}
    with pytest.raises(ValueError, match=r"found 50\.0 before"):
        export(replace(config, **changes, output=str(old)), progress=False)
    assert {path: path.read_bytes() for path in old.iterdir()} == before


@pytest.mark.tflite
def test_raw_outputs_are_measured_on_a_sample_and_come_with_their_anchors(config, trained, tmp_path):
    ending = EndingConfig(kind="raw", iou_threshold=0.4, box_scales=(1.0, 2.0, 1.0, 2.0))
    changes = {"format": "tflite-float32", "verify": "sample", "verification_images": 2, "ending": ending}
    found = export(replace(config, **changes, output=str(tmp_path)), progress=False)
    manifest = read_manifest(found.model_path)
    anchors = load_file(tmp_path / "anchors.safetensors")["anchors"]
    assert manifest.accuracy.after.images == 2
    assert manifest.accuracy.simulated_ap is None
    assert found.after.ap == pytest.approx(found.before.ap, abs=1e-4)
    assert manifest.postprocess.iou_threshold == 0.4
    assert [output.name for output in manifest.outputs] == ["box_codes", "scores"]
    assert anchors.shape == manifest.outputs[0].shape[1:]
    detector = open_predictor(found.model_path)
    again = score(detector, open_split(config.data, "val").subset(np.array([0, 1])), progress=False)
    assert again.ap == found.after.ap  # Of 3 images a sample of 2 is the first two.

    content = (tmp_path / "anchors.safetensors").read_bytes()
    (tmp_path / "anchors.safetensors").write_bytes(save({"anchors": anchors[1:]}))
    with pytest.raises(ValueError, match=rf"expected {len(anchors)} anchors in"):
        open_predictor(found.model_path)
    (tmp_path / "anchors.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="expected the anchors of the file's box codes"):
        open_predictor(found.model_path)
    (tmp_path / "anchors.safetensors").write_bytes(content)
    export(replace(config, format="tflite-float32", verify="none", output=str(tmp_path)), progress=False)
    assert not (tmp_path / "anchors.safetensors").exists()
    assert read_manifest(found.model_path).accuracy is None


@pytest.fixture
def with_ranges(config, trained, tmp_path):
    """Writes a run folder of a detector that was trained with these ranges; gives the config of its export."""

    def write(ranges):
        save_model(tmp_path / "qat", trained.description, trained.network)
        write_ranges(tmp_path / "qat", ranges)
        changes = {"model": str(tmp_path / "qat"), "output": str(tmp_path / "out"), "format": "tflite-int8-qat"}
        return replace(config, **changes)

    return write


@pytest.fixture(scope="module")
def ranges(config, trained):
    resolution = trained.network.subnet.resolution
    sets = (open_split(config.data, split) for split in ("train", "val"))
    batches = (batch for part in sets for batch in image_batches(part, size=(resolution,) * 2, batch_size=8))
    shown = [image for batch in batches for image in batch]
    return calibrated_ranges(trained.network, shown, rule="mse", score_threshold=0.05)


@pytest.mark.tflite
def test_trained_ranges_go_through_to_the_file(with_ranges, ranges, trained):
    config = with_ranges(ranges)
    manifest = read_manifest(export(config, progress=False).model_path)
    plan = trained.network.plan(trained.network.subnet)
    for outputs, entries in (
        (plan.box_outputs, manifest.quantization.box_codes),
        (plan.score_outputs, manifest.quantization.logits),
    ):
        for name, entry in zip(outputs, entries, strict=True):
            low, high = ranges[name]
            assert entry["scale"] == pytest.approx((high - low) / 255, rel=1e-5)
    assert manifest.accuracy.simulated_ap == pytest.approx(manifest.accuracy.after.AP, abs=2e-3)
    assert manifest.quantization.calibration_images == 0
    assert "as trained" in manifest.quantization.method


@pytest.mark.tflite
@pytest.mark.parametrize("name", ["backbone.stem-linear", "backbone.stages.3.0.expand-linear"])
def test_a_range_halved_in_one_layer_is_refused_and_named(with_ranges, ranges, name, tmp_path):
    low, high = ranges[name]
    config = with_ranges({**ranges, name: (low / 2, high / 2)})
    found = rf"found {name.removesuffix('-linear')} with \d+ dB more clipping than rounding"
    with pytest.raises(ValueError, match=found):
        export(replace(config, verify="none"), progress=False)
    assert not (tmp_path / "out").exists()


def test_a_detector_without_trained_ranges_has_no_such_file(config, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected quantization\.json of a quantization-aware training"):
        export(replace(config, format="tflite-int8-qat", output=str(tmp_path / "out")), progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "found"), [({"device": "pixel9"}, "'pixel9'"), ({"runtime": "xnnpack-2020"}, "'xnnpack-2020'")]
)
def test_a_latency_that_cannot_be_predicted_is_refused_at_once(config, tmp_path, changes, found):
    with pytest.raises(ValueError, match=f"found {found}"):
        export(replace(config, **changes, output=str(tmp_path / "out")), progress=False)
    assert not (tmp_path / "out").exists()
