import json
import shutil

import numpy as np
import pytest

from ofa_det.artefacts.records import read_record
from ofa_det.cli.compare import main
from ofa_det.data.generated import CATEGORIES
from ofa_det.data.images import read_image
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.compare import Comparison
from ofa_det.evaluation.predictors import open_predictor
from ofa_det.evaluation.scoring import score


@pytest.fixture
def models(detector_folder, write_detector, write_manifest, tiny_root):
    """An untrained run folder, and a file that finds the objects of all images on every image."""
    objects = open_split(DataConfig(root=str(tiny_root)), "val").objects()
    low, high = objects.boxes[:, :2], objects.boxes[:, 2:]
    anchors = np.concatenate([(low + high) / 2, high - low], axis=1)
    path = write_detector(anchors.tolist(), (0.9 * np.eye(4)[objects.labels]).tolist())
    write_manifest(path, *(category.id for category in CATEGORIES))
    return str(detector_folder), str(path)


@pytest.fixture
def arguments(models, tiny_root, tmp_path):
    few = ["--resamples", "20", "--permutations", "20"]
    return [*models, "--data.root", str(tiny_root), "--output", str(tmp_path / "out"), *few]


def test_models_beside_are_drawn_with_the_two(arguments, models, tmp_path, capsys):
    assert main([*arguments, "--beside", models[1], "--beside", models[0]]) == 0
    record = read_record(tmp_path / "out/comparison.json", Comparison)
    assert record.beside == (record.second, record.first)
    assert read_image(tmp_path / "out/front.png").shape == (600, 960, 3)
    text = capsys.readouterr().out
    rows = [line.split() for line in text[text.index("by latency") :].splitlines()[1:5]]
    assert {row[-1] for row in rows} == set(models)
    assert sorted(rows, key=lambda row: float(row[-5])) == rows


def test_both_are_scored_on_the_same_images(arguments, models, tiny_root, tmp_path, capsys):
    assert main(arguments) == 0
    record = read_record(tmp_path / "out/comparison.json", Comparison)
    dataset = open_split(DataConfig(root=str(tiny_root)), "val")
    for side, path in zip((record.first, record.second), models, strict=True):
        assert side.model == path
        assert side.metrics == score(open_predictor(path), dataset).record
        assert side.size_bytes > 0
        assert side.latency.device == "pixel2"
    assert record.second.metrics.AP > record.first.metrics.AP + 0.05
    assert record.ap_difference.difference == pytest.approx(record.second.metrics.AP - record.first.metrics.AP)
    assert record.ap_difference.low <= record.ap_difference.high
    assert 1 / 21 <= record.p_value <= 1
    assert [entry.name for entry in record.classes] == ["circle", "square", "triangle", "star"]
    for entry in record.classes:
        if entry.first is not None:
            assert entry.difference.difference == pytest.approx(entry.second - entry.first)
    assert (record.images, record.images_sha256) == (3, dataset.fingerprint())
    assert read_image(tmp_path / "out/contact_sheet.jpg").shape[1] == 3 * 284 + 4
    text = capsys.readouterr().out
    (ap,) = (line for line in text.splitlines() if line.startswith("AP "))
    first, second, difference = (float(word) for word in ap.split()[1:4])
    assert first == round(100 * record.first.metrics.AP, 1)
    assert second == round(100 * record.second.metrics.AP, 1)
    assert difference == round(100 * record.ap_difference.difference, 1)
    assert "20 resamples" in text
    assert f"p = {record.p_value:.3g}, the share of 20 permutations" in text


def test_a_model_is_as_good_as_itself(arguments, models, tmp_path, capsys):
    assert main(["--first", models[1], "--second", models[1], *arguments[2:], "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["p_value"] == 1
    interval = printed["ap_difference"]
    assert interval["difference"] == interval["low"] == interval["high"] == 0
    assert printed["output"] == str(tmp_path / "out")


def test_the_same_seed_gives_the_same_figures(arguments, tmp_path, capsys):
    texts = []
    for seed in ("3", "3", "4"):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        assert main([*arguments, "--seed", seed, "--json"]) == 0
        texts.append({key: value for key, value in json.loads(capsys.readouterr().out).items() if key != "seed"})
    assert texts[0] == texts[1] != texts[2]


def test_settings_count_for_both(arguments, tmp_path):
    assert main([*arguments, "--nms.max_detections", "2"]) == 0
    record = read_record(tmp_path / "out/comparison.json", Comparison)
    assert record.first.metrics.detections == record.second.metrics.detections == 2 * 3
    assert record.postprocess.max_detections == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--resamples", "1"], "expected resamples >= 2"),
        (["--confidence", "95"], "expected confidence between 0 and 1, found 95"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_a_mistake_is_one_line(arguments, tmp_path, capsys, more, words):
    assert main([*arguments, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ofa-det compare: error: ")
    assert words in line
    assert not (tmp_path / "out").exists()


def test_a_missing_model_is_named(arguments, capsys):
    assert main([arguments[0], "none.tflite", *arguments[2:]]) == 2
    assert "found nothing at none.tflite" in capsys.readouterr().err


def test_a_third_model_is_refused(arguments, models, capsys):
    assert main([models[0], *arguments]) == 2
    assert "expected an option, found" in capsys.readouterr().err
