from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from latency_plans import small_detector
from safetensors.numpy import save_file

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig, shipped_plan
from ofa_det.arch.levels import HeadConfig, NodeSpec, ssd_anchor_sizes
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.evaluations import ChosenSubnet
from ofa_det.artefacts.model_file import MODEL_FILE, description_header
from ofa_det.artefacts.records import to_yaml, write_record
from ofa_det.latency.model import latency_model
from ofa_det.latency.op_files import detector_file
from ofa_det.latency.postprocessing import detection_tail
from ofa_det.latency.predict import PredictLatencyConfig, predict_file, predict_latency

SPACE = read_space("ssdlite_mbv3")
LEVELS = SPACE.levels
TINY_SPACE = read_space("ssdlite_mbv3_tiny")
OFA_NETWORKS = Path(__file__).parents[2] / "../shared/latency/ofa_specialized"


def _description(subnet=None, space=SPACE, ids=(1, 4)):
    return ModelDescription(
        detector=DetectorConfig.of(space, num_classes=len(ids), anchor_sizes=ssd_anchor_sizes()),
        subnet=subnet,
        categories=tuple(Category(id=id_, name=f"class {id_}") for id_ in ids),
        postprocess=PostProcessConfig(),
    )


def _run_folder(path, description):
    path.mkdir()
    save_file({"weight": np.zeros(1, np.float32)}, path / MODEL_FILE, description_header(description))
    return str(path)


def _predict(model, **choices):
    return predict_latency(PredictLatencyConfig(model=str(model), **choices))


def _whole(plan, precision="uint8"):
    tail = detection_tail(plan, PostProcessConfig(), precision=precision)
    return latency_model(precision=precision).predict(plan.layers, tail)


def _ms(model, **choices):
    (named,) = _predict(model, **choices)
    return named.prediction.mean_ms


def test_a_run_folder_is_predicted_as_the_file_that_it_becomes(tmp_path):
    description = _description(SPACE.smallest())
    (named,) = _predict(_run_folder(tmp_path / "run", description))
    plan = description.shipped_plan(SPACE.smallest())
    assert named.name == ""
    assert named.prediction == _whole(plan)
    assert named.at_most_ms(1) == named.prediction.mean_ms + named.prediction.error_ms
    assert named.prediction.macs == plan.macs
    # Ids 1 and 4 make four score columns, of which two are unused but not free.
    dense = _run_folder(tmp_path / "dense", _description(SPACE.smallest(), ids=(1, 2)))
    assert _ms(tmp_path / "run", candidates=0) > _ms(dense, candidates=0)
    assert _ms(tmp_path / "run", classes="compact") == _ms(dense)
    with pytest.raises(ValueError, match="expected a classes of competition, compact, found 'coco'"):
        PredictLatencyConfig(model="x", classes="coco")


def test_a_precision_decides_on_the_ops_behind_the_layers_too(tmp_path):
    description = _description(SPACE.smallest())
    (named,) = _predict(_run_folder(tmp_path / "run", description), precision="float32")
    plan = description.shipped_plan(SPACE.smallest())
    assert named.prediction == _whole(plan, "float32")
    kinds = {part.kind for part in named.prediction.layers}
    assert "DEQUANTIZE" not in kinds
    assert {"CONCATENATION", "LOGISTIC", "regular NMS"} <= kinds


def test_candidates_are_counted_by_the_caller():
    subnet = str(SPACE.smallest())
    few, assumed, many = (_ms(subnet, candidates=n) for n in (0, None, 50_000))
    assert few < assumed < many
    for wrong, message in (({"candidates": -1}, "candidates >= 0"), ({"safety": -1}, "expected safety >= 0")):
        with pytest.raises(ValueError, match=message):
            PredictLatencyConfig(model=subnet, **wrong)


def test_a_supernet_has_a_smallest_and_a_largest_subnet(tmp_path):
    description = _description()
    smallest, largest = _predict(_run_folder(tmp_path / "run", description))
    assert (smallest.name, largest.name) == ("smallest", "largest")
    assert smallest.prediction.macs == description.shipped_plan(SPACE.smallest()).macs
    assert largest.prediction.macs == description.shipped_plan(SPACE.largest()).macs


def test_a_subnet_is_a_file_or_written_out(tmp_path, caplog):
    subnet = SPACE.smallest()
    write_record(tmp_path / "subnet.json", ChosenSubnet(subnet=subnet, ap=0.5))
    assert _ms(tmp_path / "subnet.json") == _ms(str(subnet))
    assert "assuming a detector of 80 classes in the space ssdlite_mbv3" in caplog.text


def test_a_subnet_is_of_a_supernet_or_of_a_space(tmp_path):
    subnet, description = SPACE.smallest(), _description()
    supernet = _run_folder(tmp_path / "run", description)
    plan = description.shipped_plan(subnet)
    assert _ms(str(subnet), supernet=supernet) == _whole(plan).mean_ms
    assert _ms(str(subnet), space="ofa_mbv3_w1.2") > _ms(str(subnet), space="ofa_mbv3_w1.0") > _ms(str(subnet))
    with pytest.raises(ValueError, match=r"expected a subnet of .*run, such as .*, found r160 k3e1 k3e3 "):
        _ms(str(TINY_SPACE.smallest()), supernet=supernet)


def test_a_space_of_its_own_keeps_its_anchors(tmp_path):
    detector = DetectorConfig.of(SPACE, num_classes=80, anchor_sizes=(((0.5, 0.5),),) * 6)
    (tmp_path / "space.yaml").write_text(to_yaml(detector.space))
    subnet = str(SPACE.smallest())
    assert _ms(subnet, space=str(tmp_path / "space.yaml")) < _ms(subnet)


@pytest.mark.parametrize(("changes", "counts"), [({"head": HeadConfig(shared=True)}, [3] * 6), ({}, [3])])
def test_a_space_without_anchors_is_predicted_with_stock_ones(tmp_path, changes, counts):
    # Features of one width, as a shared head needs them.
    neck = (*SPACE.neck, *(NodeSpec(name=f"p{i}", inputs=(level.feature,), width=64) for i, level in enumerate(LEVELS)))
    levels = tuple(replace(level, feature=f"p{i}") for i, level in enumerate(LEVELS))[: len(counts)]
    space = replace(SPACE, neck=neck, levels=levels, **changes)
    (tmp_path / "space.yaml").write_text(to_yaml(space))
    sizes = tuple(((0.1, 0.1),) * count for count in counts)
    plan = shipped_plan(DetectorConfig.of(space, num_classes=80, anchor_sizes=sizes), 80, space.smallest(256))
    (named,) = _predict(str(space.smallest(256)), space=str(tmp_path / "space.yaml"))
    assert named.prediction == _whole(plan)


def test_a_file_is_predicted_as_its_export_named(tmp_path):
    model = tmp_path / "model.tflite"
    model.write_bytes(detector_file(small_detector(), PostProcessConfig(), precision="uint8"))
    older = SimpleNamespace(
        latency=SimpleNamespace(device="pixel2", runtime="tflite-2018"), export={"device": "pixel2"}
    )
    assert predict_file(model, older).runtime == "tflite-2018"
    assert predict_file(model, older).mean_ms == _ms(model, runtime="tflite-2018") != _ms(model)
    for unknown in (None, SimpleNamespace(latency=None, export={"device": "gone.json"})):
        assert predict_file(model, unknown).mean_ms == _ms(model)


def test_a_subnet_may_have_any_resolution(tmp_path):
    supernet = _run_folder(tmp_path / "run", _description())
    subnet = SPACE.smallest(208)
    assert subnet not in SPACE
    for choices in ({"supernet": supernet}, {}):
        assert _ms(str(SPACE.smallest(192)), **choices) < _ms(str(subnet), **choices)
        with pytest.raises(ValueError, match=r"expected a subnet of .*, such as r192 .*, found r192 k3e1 k3e2 "):
            _ms(str(SPACE.smallest()).replace("k3e3.k3e3", "k3e2", 1), **choices)


@pytest.mark.parametrize(
    ("folder", "mmacs"),
    [("pixel2_lat-50ms_top1-74.7_finetune-25", 166.0), ("note10_lat-41ms_top1-79.3_finetune-75", 457.3)],
)
def test_published_once_for_all_networks(folder, mmacs):
    if not OFA_NETWORKS.is_dir():
        pytest.skip("no published once-for-all networks beside the checkout")
    (named,) = _predict(OFA_NETWORKS / folder / "net.config", precision="float32")
    assert named.prediction.macs / 1e6 == pytest.approx(mmacs, abs=0.06)
    if folder.startswith("pixel2"):
        assert named.prediction.mean_ms == pytest.approx(50, rel=0.1)


def test_net_config_needs_its_run_config(tmp_path):
    net = tmp_path / "net.config"
    net.write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"expected run\.config beside .*net\.config"):
        _predict(net)
    (tmp_path / "run.config").write_text('{"image_size": 224}')
    with pytest.raises(ValueError, match=r"net\.config: expected a once-for-all net\.config .* found no 'first_conv'"):
        _predict(net)
    net.write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        _predict(net)


def test_ops_without_a_cost_are_among_what_a_prediction_does_not_count(new_graph, tmp_path):
    graph = new_graph()
    x = graph.conv(graph.image(1, 8, 8, 3), (8, 3, 3, 3), (1, 8, 8, 8), "conv")
    for name in ("first", "second"):
        x = graph.op("GELU", [x], (1, 8, 8, 8), name)
    (named,) = _predict(graph.save(tmp_path / "a.tflite"))
    assert named.prediction.excluded == latency_model().predict(()).excluded + ", 2 GELU"
    assert named.prediction.entry().excluded == named.prediction.excluded


def test_a_file_has_a_precision_of_its_own(new_graph, tmp_path, caplog):
    graph = new_graph()
    x = graph.conv(graph.image(1, 8, 8, 3), (8, 3, 3, 3), (1, 8, 8, 8), "conv")
    graph.op("RESHAPE", [x, graph.tensor((2,))], (1, 64, 8), "boxes")
    path = graph.save(tmp_path / "a.tflite")
    (named,) = _predict(path)
    assert (named.prediction.precision, named.uncounted_ops) == ("uint8", {})
    assert named.layer_of_op == (0, None)
    assert not caplog.text
    assert named.prediction.excluded == latency_model().predict(()).excluded
    (named,) = _predict(path, precision="float32", runtime="xnnpack-2020")
    assert (named.prediction.precision, named.prediction.runtime) == ("float32", "xnnpack-2020")
    assert "is a uint8 network; predicting it as float32" in caplog.text


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"model": "nowhere"}, FileNotFoundError, r"expected a run folder, a subnet .* found none at nowhere"),
        ({"model": "nowhere.json"}, FileNotFoundError, r"found none at nowhere\.json"),
        ({"model": __file__}, ValueError, r"expected a run folder, a subnet .* found .*test_predict\.py"),
        ({"model": __file__, "supernet": "run"}, ValueError, "expected --supernet with a subnet alone, found it with"),
        ({"model": "r320 k3e1 here"}, ValueError, "expected a subnet like 'r320 k3e1 k3e6.k5e4'"),
        ({"model": "r320 k3e1"}, ValueError, "expected a subnet of ssdlite_mbv3, such as .*, found r320 k3e1$"),
        ({"model": str(SPACE.smallest()), "device": "pixel9"}, ValueError, "expected a device of pixel2"),
        ({"model": str(SPACE.smallest()), "space": "vgg"}, FileNotFoundError, "one of .*ofa_mbv3_w1.0, .* found 'vgg'"),
        (
            {"model": str(SPACE.smallest()), "supernet": "no"},
            FileNotFoundError,
            "expected a run folder with model.safe",
        ),
    ],
)
def test_mistakes_are_named(choices, error, message):
    with pytest.raises(error, match=message):
        predict_latency(PredictLatencyConfig(**choices))
