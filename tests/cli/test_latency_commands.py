import json
from pathlib import Path

import pytest

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.search_space import SearchSpace
from ofa_det.cli.measure_latency import main as measure
from ofa_det.cli.predict_latency import main as predict
from ofa_det.data.categories import Category
from ofa_det.models.run_folder import ModelDescription, save_model

SPACE = SearchSpace(resolutions=(192, 320))
PEER = Path(__file__).parents[2] / "../shared/peers/coco_ssd_mobilenet_v1_quant.tflite"


def _run_folder(path, architecture):
    description = ModelDescription(
        detector=DetectorConfig(num_classes=2),
        architecture=architecture,
        categories=(Category(id=1, name="cell"), Category(id=4, name="platelet")),
    )
    save_model(path, description, {})
    return str(path)


def test_a_run_folder_of_a_detector(tmp_path, capsys):
    assert predict(["--model", _run_folder(tmp_path, SPACE.smallest())]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    mean, unit, sign, *_ = first.split()
    assert 15 < float(mean) < 30
    assert (unit, sign) == ("ms", "±")
    assert second == "device pixel2, runtime tflite-2019-v3, precision uint8, 1 thread"


def test_a_supernet_has_a_smallest_and_a_largest_subnet(tmp_path, capsys):
    folder = _run_folder(tmp_path, SPACE)
    assert predict(["--model", folder]) == 0
    headings = [line for line in capsys.readouterr().out.splitlines() if line.endswith("subnet)")]
    assert [heading.split("(")[1] for heading in headings] == ["smallest subnet)", "largest subnet)"]
    assert predict(["--model", folder, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["smallest"]["mean_ms"] < value["largest"]["mean_ms"]


def test_a_subnet_belongs_to_a_detector(tmp_path, capsys, caplog):
    subnet = tmp_path / "subnet.json"
    subnet.write_text(json.dumps(SPACE.smallest().to_json() | {"ap": 0.5}))
    assert predict(["--model", str(subnet), "--json"]) == 0
    of_80_classes = json.loads(capsys.readouterr().out)
    supernet = _run_folder(tmp_path / "supernet", SPACE)
    assert predict(["--model", str(subnet), "--supernet", supernet, "--json"]) == 0
    of_2_classes = json.loads(capsys.readouterr().out)
    assert of_2_classes["mean_ms"] < of_80_classes["mean_ms"]


def test_a_published_detector_file(capsys):
    if not PEER.is_file():
        pytest.skip("no peer model beside the checkout")
    assert predict(["--model", str(PEER)]) == 0
    out = capsys.readouterr().out
    assert "precision uint8" in out
    assert "728.0 M multiply-accumulates" in out
    assert "not counted: TFLite_Detection_PostProcess" in out
    assert measure(["--model", str(PEER), "--runs", "2", "--warmup_runs", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 2


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (predict, ["--model", "nowhere"], "expected a run folder, subnet.json, net.config or .tflite file, found none"),
        (predict, ["--model", __file__], "expected a run folder, subnet.json, net.config or .tflite file, found"),
        (predict, ["--model", __file__, "--supernet", "runs"], "expected --supernet with a subnet.json alone"),
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
