import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.model_file import MODEL_FILE, description_header
from ofa_det.cli.measure_latency import main as measure
from ofa_det.cli.predict_latency import main as predict

SPACE = read_space("ssdlite_mbv3")
SUBNET = str(SPACE.smallest())
PEER = Path(__file__).parents[2] / "../shared/peers/coco_ssd_mobilenet_v1_quant.tflite"


@pytest.fixture
def supernet(tmp_path):
    description = ModelDescription(
        detector=DetectorConfig.of(SPACE, num_classes=2, anchor_sizes=ssd_anchor_sizes()),
        subnet=None,
        categories=(Category(id=1, name="cell"), Category(id=4, name="platelet")),
        postprocess=PostProcessConfig(),
    )
    save_file({"weight": np.zeros(1, np.float32)}, tmp_path / MODEL_FILE, description_header(description))
    return str(tmp_path)


def test_a_prediction_begins_with_the_latency_and_what_it_is_of(capsys):
    assert predict(["--model", SUBNET]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    mean, unit, sign, *_ = first.split()
    assert 15 < float(mean) < 30
    assert (unit, sign) == ("ms", "±")
    assert second == "device pixel2, runtime tflite-2019-v3, precision uint8, 1 thread"


def test_a_supernet_has_a_smallest_and_a_largest_subnet(supernet, capsys):
    assert predict(["--model", supernet]) == 0
    headings = [line for line in capsys.readouterr().out.splitlines() if line.endswith("subnet)")]
    assert [heading.split("(")[1] for heading in headings] == ["smallest subnet)", "largest subnet)"]
    assert predict(["--model", supernet, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["smallest"]["mean_ms"] < value["largest"]["mean_ms"]


def test_a_subnet_belongs_to_a_detector(supernet, capsys):
    assert predict(["--model", SUBNET, "--json"]) == 0
    of_80_classes = json.loads(capsys.readouterr().out)
    assert predict(["--model", SUBNET, "--supernet", supernet, "--json"]) == 0
    of_2_classes = json.loads(capsys.readouterr().out)
    assert of_2_classes["mean_ms"] < of_80_classes["mean_ms"]


def test_a_published_detector_file(capsys):
    if not PEER.is_file():
        pytest.skip("no peer model beside the checkout")
    assert predict(["--model", str(PEER)]) == 0
    out = capsys.readouterr().out
    assert "precision uint8" in out
    assert "728.0 M multiply-accumulates" in out
    assert "not counted: post-processing: sigmoid and TFLite_Detection_PostProcess" in out
    assert "not counted in this file: 2 CONCATENATION, 1 LOGISTIC, 13 RESHAPE, 1 TFLite_Detection_PostProcess" in out
    assert measure(["--model", str(PEER), "--runs", "2", "--warmup_runs", "0"]) == 0
    assert "mean and standard deviation of 2 runs, median" in capsys.readouterr().out
    assert measure(["--model", str(PEER), "--runs", "2", "--warmup_runs", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 2


@pytest.mark.parametrize("command", [predict, measure])
def test_help_explains_the_options_of_the_library(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        command(["--help"])
    assert exit_.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "print a JSON object instead of text" in out
    assert ("tflite-2019-v3" if command is predict else "inferences before the timed ones") in out


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (predict, ["--model", "nowhere"], "found none at nowhere"),
        (predict, ["--model", __file__, "--supernet", "runs"], "expected --supernet with a subnet alone"),
        (predict, ["--model", "a.tflite", "--precision", "int8"], "float32"),
        (measure, ["--model", "nowhere.tflite"], "expected a .tflite file, found none at nowhere.tflite"),
        (measure, ["--model", "a.tflite", "--per_op"], "expected --device adb with --per_op, found host"),
        (measure, ["--model", "a.tflite", "--runs", "0"], "expected threads >= 1, runs >= 1"),
    ],
)
def test_mistakes_end_with_one_line(command, arguments, message, capsys):
    assert command(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
