from pathlib import Path

import pytest

from ofa_det.arch.description import PostProcessConfig
from ofa_det.latency.lookup_table import blocks, read_lookup_tables
from ofa_det.latency.model import latency_model
from ofa_det.latency.postprocessing import DetectionTail, new_suppression
from ofa_det.latency.predict import PredictLatencyConfig, predict_latency
from ofa_det.latency.published_networks import mobilenet_v2, mobilenet_v3, ofa_classifier

SHARED = Path(__file__).parents[2] / "../shared/latency"
SUBNET = "r160 k3e1 k3e3.k3e3 k5e6.k5e4 k7e4.k3e3 k7e4.k7e3.k3e4 k5e6.k3e4"


def _write(folder, layers, skipped=()):
    """A table with 2 ms for each of the network's blocks."""
    folder.mkdir(exist_ok=True)
    keys = [block.key for block in blocks(layers)]
    lines = [f"{key}:\n  count: 5\n  mean: 2.0\n  std: 0.1\n" for key in dict.fromkeys(keys) if key not in skipped]
    (folder / "160_lookup_table.yaml").write_text("".join(lines))
    return keys


def test_blocks_are_named_as_once_for_all_names_them():
    keys = [block.key for block in blocks(ofa_classifier(SUBNET).layers)]
    assert keys[0] == "Conv-input:160x160x3-output:80x80x16"
    assert keys[1] == ("expanded_conv-input:80x80x16-output:80x80x16-expand:16-kernel:3-stride:1-idskip:1-se:0-hs:0")
    assert keys[4] == ("expanded_conv-input:40x40x24-output:20x20x40-expand:144-kernel:5-stride:2-idskip:0-se:1-hs:0")
    assert keys[-4:] == [
        "Conv_1-input:5x5x160-output:5x5x960",
        "AvgPool2D-input:5x5x960-output:1x1x960",
        "Conv_2-input:1x1x960-output:1x1x1280",
        "Logits-input:1x1x1280-output:1000",
    ]
    layers = mobilenet_v3("large").layers
    assert sum(block.layers for block in blocks(layers)) == len(layers)


def test_a_network_is_the_sum_of_its_blocks(tmp_path):
    layers = ofa_classifier(SUBNET).layers
    keys = _write(tmp_path / "phone", layers)
    model = latency_model(str(tmp_path / "phone"), precision="float32")
    prediction = model.predict(layers)
    assert prediction.mean_ms == pytest.approx(2.0 * len(keys))
    assert prediction.error_ms == pytest.approx(((0.03 * prediction.mean_ms) ** 2 + 0.1**2 * len(keys)) ** 0.5)
    assert (prediction.device, prediction.precision) == ("phone", "float32")
    assert prediction.macs == sum(layer.macs for layer in layers)
    assert model.estimate(layers) == (prediction.mean_ms, prediction.error_ms)


def test_what_a_table_lacks_is_named(tmp_path):
    layers = ofa_classifier(SUBNET).layers
    _write(tmp_path / "phone", layers, skipped=("Logits-input:1x1x1280-output:1000",))
    model = read_lookup_tables(tmp_path / "phone")
    with pytest.raises(ValueError, match="found no entry Logits-input:1x1x1280-output:1000"):
        model.predict(layers)
    with pytest.raises(ValueError, match=r"expected a table 224_lookup_table\.yaml in .*phone for 224 px"):
        model.predict(mobilenet_v2(1.0, 224).layers)
    tail = DetectionTail(suppression=new_suppression(10, 2, PostProcessConfig()))
    with pytest.raises(ValueError, match=r"expected a classifier, found a detector; .* measure a table of the space"):
        model.predict(layers, tail)
    with pytest.raises(ValueError, match=r"expected --precision float32, the one that .* is of, found uint8"):
        latency_model(str(tmp_path / "phone"))
    with pytest.raises(ValueError, match="expected a runtime of 'lookup table'"):
        latency_model(str(tmp_path / "phone"), precision="float32", runtime="xnnpack-2020")
    with pytest.raises(FileNotFoundError, match=r"expected tables <px>_lookup_table\.yaml"):
        latency_model(str(tmp_path), precision="float32")


def test_a_broken_table_is_refused(tmp_path):
    (tmp_path / "160_lookup_table.yaml").write_text("Conv-input:160x160x3-output:80x80x16: fast\n")
    with pytest.raises(ValueError, match="expected count, mean and std of Conv-input"):
        read_lookup_tables(tmp_path).predict(ofa_classifier(SUBNET).layers)


@pytest.mark.parametrize(("named_ms", "accuracy"), [(41, 79.3), (50, 79.7)])
def test_published_note10_networks_take_what_they_are_named_after(named_ms, accuracy):
    if not SHARED.is_dir():
        pytest.skip("no published lookup tables beside the checkout")
    folder = SHARED / "ofa_specialized" / f"note10_lat-{named_ms}ms_top1-{accuracy}_finetune-75"
    config = PredictLatencyConfig(
        model=str(folder / "net.config"), device=str(SHARED / "note10_lut"), precision="float32"
    )
    (named,) = predict_latency(config)
    assert named.prediction.mean_ms == pytest.approx(named_ms, rel=0.03)
    assert named.prediction.device == "note10_lut"
