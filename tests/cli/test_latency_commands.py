import json
from pathlib import Path

import numpy as np
import pytest
from latency_plans import small_detector
from safetensors.numpy import save_file

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.model_file import MODEL_FILE, description_header
from ofa_det.cli.calibrate_latency import main as calibrate
from ofa_det.cli.measure_latency import main as measure
from ofa_det.cli.predict_latency import main as predict
from ofa_det.latency.op_files import detector_file

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
    assert 15 < float(mean) < 40
    assert (unit, sign) == ("ms", "±")
    assert second == "device pixel2, runtime tflite-2019-v3, precision uint8, 1 thread"


def test_safety_raises_the_bound_alone(capsys):
    values = {}
    for safety in ("0", "1", "2"):
        assert predict(["--model", SUBNET, "--json", "--safety", safety]) == 0
        values[safety] = json.loads(capsys.readouterr().out)
    assert values["0"]["at_most_ms"] == values["0"]["mean_ms"] == values["2"]["mean_ms"]
    assert values["2"]["at_most_ms"] == pytest.approx(values["1"]["mean_ms"] + 2 * values["1"]["error_ms"])
    assert values["1"]["postprocessing_ms"] > 0
    assert "networks of 2 families" in values["1"]["rests_on"]
    assert any("regular NMS" in note for note in values["1"]["extrapolated"])
    assert predict(["--model", SUBNET, "--safety", "2", "--candidates", "500"]) == 0
    out = capsys.readouterr().out
    assert "ms, 2 standard errors above" in out
    assert "are assumed" not in out


@pytest.fixture
def detector_path(tmp_path):
    path = tmp_path / "small.tflite"
    path.write_bytes(detector_file(small_detector(), PostProcessConfig(), precision="uint8"))
    return str(path)


def test_which_layers_cost_what_as_text_csv_and_picture(detector_path, tmp_path, capsys):
    folder = tmp_path / "ops"
    assert predict(["--model", detector_path, "--measure_host", "--output", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "columns: pixel2 predicted (tflite-2019-v3, uint8); host" in out
    header, *rows = (folder / "ops.csv").read_text().splitlines()
    assert header.count("measured (litert-") == 2
    assert "built-in kernels" in header
    assert rows[-1].startswith("TFLite_Detection_PostProcess,regular NMS,")
    assert (folder / "ops.png").read_bytes().startswith(b"\x89PNG")


def test_a_supernets_ends_are_written_apart(supernet, tmp_path, capsys):
    assert predict(["--model", supernet, "--output", str(tmp_path / "ops")]) == 0
    assert (tmp_path / "ops/smallest/ops.csv").is_file()
    assert (tmp_path / "ops/largest/ops.png").is_file()


def test_ops_are_measured_and_written(detector_path, tmp_path, capsys):
    folder = tmp_path / "ops"
    options = ["--model", detector_path, "--runs", "2", "--warmup_runs", "0", "--per_op", "--output", str(folder)]
    assert measure([*options, "--both_kernels", "--clock", "cpu"]) == 0
    out = capsys.readouterr().out
    assert out.count("each timed alone or by the profiler") == 2
    assert "DEPTHWISE_CONV_2D" in out
    assert "; processor time" in out
    for kernels in ("xnnpack_1", "built_in_1"):
        assert "TFLite_Detection_PostProcess" in (folder / kernels / "ops.csv").read_text()
    assert measure([*options[:-2], "--both_kernels", "--json"]) == 0
    assert [value["threads"] for value in json.loads(capsys.readouterr().out)] == [1, 1]


def test_a_table_is_calibrated_here_and_predicts(tmp_path, capsys):
    # Times are not asserted: the machine may be busy.
    options = [
        "--space",
        "ssdlite_mbv3_tiny",
        "--num_classes",
        "2",
        "--networks",
        "14",
        "--held_out",
        "3",
        "--runs",
        "2",
    ]
    assert calibrate([*options, "--warmup_runs", "0", "--clock", "cpu", "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "3 subnets held out: Spearman" in out
    assert "predicts with it, and searches on it" in out
    again = ["--warmup_runs", "0", "--clock", "cpu", "--output", str(tmp_path / "out"), "--resume", "--json"]
    assert calibrate([*options, *again]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["path"] == str(tmp_path / "out/latency_table.json")
    assert sum(subnet["held_out"] for subnet in values["subnets"]) == 3
    table = str(tmp_path / "out/latency_table.json")
    subnet = str(read_space("ssdlite_mbv3_tiny").smallest())
    assert predict(["--model", subnet, "--space", "ssdlite_mbv3_tiny", "--device", table, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["device"].startswith("host")
    assert value["rests_on"].startswith("3 subnets of ssdlite_mbv3_tiny measured in uint8")


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
    assert "± rests on 4 published uint8 networks of 2 families on tflite-2019-v3" in out
    assert "extrapolated: conv 3x3 larger than in any timed uint8 network (2 layers" in out
    assert "ms of it" in out
    assert "not counted: decoding and resizing the image\n" in out  # And no op of this file.
    assert measure(["--model", str(PEER), "--runs", "2", "--warmup_runs", "0"]) == 0
    assert "median and half of the middle half's range of 2 runs, mean " in capsys.readouterr().out
    assert measure(["--model", str(PEER), "--runs", "2", "--warmup_runs", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == 2


@pytest.mark.parametrize("command", [predict, measure])
def test_help_explains_the_options_of_the_library(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        command(["--help"])
    assert exit_.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "print JSON instead of text" in out
    assert ("tflite-2019-v3" if command is predict else "inferences before the timed ones") in out


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (predict, ["--model", "nowhere"], "found none at nowhere"),
        (predict, ["--model", __file__, "--supernet", "runs"], "expected --supernet with a subnet alone"),
        (predict, ["--model", "a.tflite", "--precision", "int8"], "float32"),
        (measure, ["--model", "nowhere.tflite"], "expected a .tflite file, found none at nowhere.tflite"),
        (measure, ["--model", "a.tflite", "--output", "x"], "expected --per_op true with --output"),
        (predict, ["--model", SUBNET, "--measure_host"], "expected a .tflite file with --measure_host"),
        (predict, ["--model", "a.tflite", "--image", "a.png"], "expected --measure_host true with --image"),
        (predict, ["--model", SUBNET, "--safety", "-1"], "expected safety >= 0"),
        (calibrate, ["--networks", "3"], "expected networks > 12"),
        (measure, ["--model", "a.tflite", "--runs", "0"], "expected threads >= 1, runs >= 1"),
    ],
)
def test_mistakes_end_with_one_line(command, arguments, message, capsys):
    assert command(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
