from pathlib import Path

import pytest

from ofa_det.arch.description import ModelDescription
from ofa_det.artefacts.manifest import (
    MANIFEST_FILE,
    AccuracyEntry,
    ClassAp,
    EvaluationRecord,
    LatencyEntry,
    Manifest,
    MetricsRecord,
    ModelEntry,
    NetworkEntry,
    QuantizationEntry,
    SourceEntry,
    TensorEntry,
    read_manifest,
)
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import read_record, write_record

METRICS = MetricsRecord(
    AP=0.25,
    AP50=0.5,
    AP75=0.2,
    APs=None,
    APm=0.1,
    APl=0.3,
    AR1=0.2,
    AR10=0.3,
    AR100=0.35,
    ARs=None,
    ARm=0.2,
    ARl=0.4,
    classes=(ClassAp(id=1, name="ring", AP=0.25), ClassAp(id=4, name="star", AP=None)),
    images=8,
    detections=80,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"TFL3")
    return path


def manifest(model: Path, description: ModelDescription) -> Manifest:
    scale = {"scale": 0.1, "zero_point": 128.0}
    tensor = TensorEntry(name="images", shape=(1, 160, 160, 3), dtype="uint8", content="RGB", quantization=scale)
    assert description.subnet is not None
    return Manifest(
        format="tflite-int8",
        model=ModelEntry(file=model.name, bytes=4, sha256=model_sha256(model)),
        class_category_ids=(1, None, None, 4),
        input=tensor,
        outputs=(TensorEntry(name="boxes", shape=(1, 10, 4), dtype="float32", content="boxes"),),
        quantization=QuantizationEntry(method="qat", calibration_images=4, box_codes=(scale,), logits=(scale,)),
        verification={"max_difference": 0.01},
        network=NetworkEntry(
            detector=description.detector,
            subnet=description.subnet,
            macs=7,
            parameters=5,
            anchors=3,
            categories=description.categories,
        ),
        postprocess=description.postprocess,
        source=SourceEntry(run_folder="runs/det", weights_sha256="abc", config={"train": {"epochs": 3}}),
        export={"format": "tflite-int8", "images": None},
        accuracy=AccuracyEntry(images_sha256="def", before=METRICS, after=METRICS, ap_change=0.0),
        latency=LatencyEntry(
            mean_ms=35.1, error_ms=2.1, device="pixel2", runtime="cpu", precision="int8", threads=1, excluded="op"
        ),
    )


def test_a_manifest_comes_back_the_same(model: Path, description: ModelDescription) -> None:
    written = manifest(model, description)
    write_record(model.with_name(MANIFEST_FILE), written)
    assert read_manifest(model) == written


def test_a_model_without_a_manifest(model: Path) -> None:
    assert read_manifest(model) is None


def test_the_manifest_of_another_file_is_refused(model: Path, description: ModelDescription) -> None:
    write_record(model.with_name(MANIFEST_FILE), manifest(model, description))
    model.write_bytes(b"TFL3 of another export")
    with pytest.raises(ValueError, match=r"manifest\.json to describe model\.tflite, found the hash of another file"):
        read_manifest(model)


def test_a_damaged_manifest_is_refused_with_the_place(model: Path, description: ModelDescription) -> None:
    path = model.with_name(MANIFEST_FILE)
    write_record(path, manifest(model, description))
    path.write_text(path.read_text().replace('"anchors": 3', '"anchors": "3"'))
    with pytest.raises(ValueError, match=r"manifest\.json: expected an int at network\.anchors, found '3'"):
        read_manifest(model)


def test_an_evaluation_comes_back_the_same(tmp_path: Path) -> None:
    record = EvaluationRecord(
        **vars(METRICS),
        model="m",
        model_sha256="abc",
        subnet=None,
        calibration_images=4,
        data_root="DATA",
        split="val2017",
        images_sha256="def",
    )
    write_record(tmp_path / "metrics.json", record)
    assert read_record(tmp_path / "metrics.json", EvaluationRecord) == record
