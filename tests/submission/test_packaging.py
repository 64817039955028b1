import json
import subprocess
from dataclasses import replace

import pytest
import torch

from ofa_det.arch.description import ModelDescription
from ofa_det.artefacts.manifest import MANIFEST_FILE
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import read_record, write_record
from ofa_det.data.splits import open_split
from ofa_det.evaluation.metrics import coco_metrics
from ofa_det.evaluation.scoring import score
from ofa_det.evaluation.tflite import TfliteDetector
from ofa_det.latency.model import latency_model
from ofa_det.latency.tflite_file import read_tflite
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import save_model
from ofa_det.submission import accuracy
from ofa_det.submission.claims import Claims, MeasuredEntry, competition_scores, frontier_ap
from ofa_det.submission.config import PackageConfig


def test_folder_holds_all_that_a_submission_needs(model, packaged, tmp_path):
    submission = packaged(model)

    title = f"duck_{100 * submission.metrics.ap:.1f}"
    folder = tmp_path / "out" / title
    assert submission.folder == folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "MODEL_CARD.md",
        "claims.json",
        "detections.json",
        f"{title}.tflite",
        "md5.txt",
        "validation.json",
    ]
    assert [path.name for path in folder.parent.iterdir()] == [title]
    assert (folder / f"{title}.tflite").read_bytes() == model.read_bytes()
    listed = subprocess.run(["md5sum", "-c", "md5.txt"], cwd=folder, check=True, capture_output=True, text=True)
    assert len(listed.stdout.splitlines()) == 5
    assert json.loads((folder / "validation.json").read_text())["passed"] is True
    detections = json.loads((folder / "detections.json").read_text())
    assert set(detections[0]) == {"image_id", "category_id", "bbox", "score"}
    assert read_record(folder / "claims.json", Claims) == submission.claims


def test_same_model_is_replaced_and_another_refused(model, packaged, write_detector, tmp_path):
    first = packaged(model)
    (first.folder / "note.txt").write_text("old")

    again = packaged(model)
    assert again.folder == first.folder
    assert not (first.folder / "note.txt").exists()

    columns = [[0.0] * 24, [0.0] * 24]
    columns[0][1], columns[1][4] = 0.61, 0.41
    other = write_detector([[0.5, 0.5, 0.5, 0.5], [0.3, 0.6, 0.4, 0.4]], columns, name="other.tflite")
    with pytest.raises(ValueError, match="choose another name"):
        packaged(other)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [first.folder.name]


def test_what_cannot_be_packaged_leaves_nothing_behind(model, packaged, write_detector, tmp_path):
    short = write_detector([[0.5, 0.5, 0.5, 0.5]], [[0.5] * 24], max_detections=10, name="short.tflite")
    with pytest.raises(ValueError, match=r"expected \[1, 100, 4\], found \[1, 10, 4\]"):
        packaged(short)
    with pytest.raises(FileNotFoundError, match="found nothing at"):
        packaged(tmp_path / "none.tflite")
    nothing = write_detector([[0.5, 0.5, 0.01, 0.01]], [[0.02] * 24], name="nothing.tflite")
    with pytest.raises(ValueError, match=r"expected an AP of 1\.0 % at least, found 0\.00 % on 3 images"):
        packaged(nothing, least_ap=0.01)
    assert not (tmp_path / "out").exists()


def test_an_ap_other_than_the_manifests_is_refused(model, packaged, measured_manifest, tmp_path):
    stated = measured_manifest.accuracy
    assert packaged(model).claims.torch.source == "manifest"

    higher = replace(stated.after, AP=stated.after.AP + 0.01)
    changed = replace(measured_manifest, accuracy=replace(stated, after=higher))
    write_record(model.with_name(MANIFEST_FILE), changed)
    with pytest.raises(ValueError, match=r"expected AP .* of the file, as its manifest claims on 3 images, found"):
        packaged(model, output=str(tmp_path / "other"))

    better = replace(stated.before, AP=stated.before.AP + 0.02)
    fallen = replace(measured_manifest, accuracy=replace(stated, before=better))
    write_record(model.with_name(MANIFEST_FILE), fallen)
    with pytest.raises(ValueError, match=r"expected AP to fall by at most 1\.0 points from torch \(manifest\)"):
        packaged(model, output=str(tmp_path / "other"))
    assert packaged(model, ap_tolerance=0.03).claims.torch.torch_ap == better.AP


def test_torch_is_scored_where_its_run_folder_is_here(
    model, packaged, measured_manifest, tiny_space, tmp_path, monkeypatch
):
    torch.manual_seed(0)
    network = measured_manifest.network
    description = ModelDescription(
        detector=network.detector,
        subnet=network.subnet,
        categories=network.categories,
        postprocess=measured_manifest.postprocess,
    )
    folder = tmp_path / "det"
    save_model(folder, description, Detector(network.detector, network.subnet))
    source = replace(measured_manifest.source, run_folder=str(folder), weights_sha256=model_sha256(folder))
    write_record(model.with_name(MANIFEST_FILE), replace(measured_manifest, source=source))

    found = packaged(model, torch_images=2).claims.torch
    assert (found.source, found.images) == ("run folder", 2)
    assert packaged(model, torch_images=0).claims.torch.source == "manifest"

    def perfect(predictor, dataset, **_):
        truth = dataset.ground_truth()
        sure = [{**annotation, "score": 1.0} for annotation in truth["annotations"]]
        return score(predictor, dataset) if isinstance(predictor, TfliteDetector) else coco_metrics(truth, sure)

    monkeypatch.setattr(accuracy, "score", perfect)
    with pytest.raises(
        ValueError, match=r"fall by at most 1\.0 points from torch \(run folder\) to the file, found 100\.0"
    ):
        packaged(model, output=str(tmp_path / "other"))

    write_record(
        model.with_name(MANIFEST_FILE), replace(measured_manifest, source=replace(source, weights_sha256="0" * 64))
    )
    with pytest.raises(ValueError, match="the weights that the file was made from, sha256 000000000000, found"):
        packaged(model, output=str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_a_latency_other_than_the_manifests_is_refused(model, packaged, measured_manifest, tmp_path):
    network = read_tflite(model)
    other = latency_model(precision=network.precision, runtime="tflite-2018")
    entry = other.predict(network.layers, network.tail).entry()
    write_record(model.with_name(MANIFEST_FILE), replace(measured_manifest, latency=entry))
    assert packaged(model).latency == entry

    write_record(
        model.with_name(MANIFEST_FILE), replace(measured_manifest, latency=replace(entry, mean_ms=entry.mean_ms / 2))
    )
    with pytest.raises(ValueError, match=r"that manifest\.json claims, found"):
        packaged(model, output=str(tmp_path / "other"))


def test_chosen_images_alone_are_scored(model, packaged, data, tmp_path):
    dataset = open_split(data, "val")
    chosen = [dataset.image_id(2), dataset.image_id(0)]
    (tmp_path / "ids.txt").write_text("\n".join(map(str, chosen)))
    some = packaged(model, image_ids=str(tmp_path / "ids.txt"))
    assert some.metrics.record.images == 2
    assert {result["image_id"] for result in some.metrics.results} == set(chosen)
    assert (some.folder / "image_ids.txt").read_text().split() == [str(id_) for id_ in chosen]

    (tmp_path / "ids.json").write_text(json.dumps([*chosen, 999]))
    with pytest.raises(ValueError, match="found 1 of 3 others, the first 999; name the annotations"):
        packaged(model, image_ids=str(tmp_path / "ids.json"))


def test_scores_of_the_competition_follow_from_latency_and_limit(data, packaged, model):
    dataset, submission = open_split(data, "val"), packaged(model)
    metrics, latency = submission.metrics, submission.latency

    def of(ms, limit):
        measured = MeasuredEntry(mean_ms=ms, on="a phone")
        return competition_scores(metrics, dataset, latency=latency, measured=measured, time_limit_ms=limit)

    slow = of(45.0, 30.0)  # 3 images have 90 ms, in which 2 are done.
    seen = [result for result in metrics.results if result["image_id"] in (dataset.image_id(0), dataset.image_id(1))]
    assert (slow.images_in_time, slow.latency_is) == (2, "measured")
    assert slow.ap_in_time == pytest.approx(100 * coco_metrics(dataset.ground_truth(), seen).ap)
    assert slow.frontier_ap == pytest.approx(frontier_ap(45))
    assert slow.above_frontier == pytest.approx(100 * metrics.ap - frontier_ap(45))
    assert slow.ap_per_ms == pytest.approx(100 * metrics.ap / 45)
    fast = of(30.0, 30.0)
    assert (fast.images_in_time, fast.ap_in_time) == (3, pytest.approx(100 * metrics.ap))
    assert submission.claims.scores.latency_is == "predicted"


def test_frontier_is_that_of_april_2020():
    assert frontier_ap(30) == pytest.approx(23.04, abs=0.005)


@pytest.mark.parametrize("name", ["a/b", "", ".hidden", "two words"])
def test_names_that_are_no_folder_are_refused(name, data):
    with pytest.raises(ValueError, match="expected a name of letters"):
        PackageConfig(model="model.tflite", name=name, data=data)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "expected --model FILE and --name NAME, or --verify FOLDER"),
        ({"verify": "out", "model": "a.tflite"}, "expected --verify without --model"),
        ({"model": "a", "name": "a", "measured_ms": 12.0}, "together with --measured_on"),
        ({"model": "a", "name": "a", "ap_tolerance": 2.0}, "ap_tolerance of 0 to 1"),
    ],
)
def test_options_that_do_not_go_together(options, words, data):
    with pytest.raises(ValueError, match=words):
        PackageConfig(data=data, **options)
