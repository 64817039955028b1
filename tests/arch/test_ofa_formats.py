import copy
import json
from pathlib import Path

import pytest

from ofa_det.arch.layer_plan import STAGE_HSWISH, STAGE_SQUEEZE_EXCITE, STAGE_STRIDES, STAGE_WIDTHS, make_divisible
from ofa_det.arch.ofa_formats import parse_ofa_classifier, read_ofa_classifier
from ofa_det.arch.subnet import SubnetConfig

SUBNET = "r208 k3e3.k3e4 k3e3.k3e3 k3e3.k5e6 k5e6.k7e4 k3e6.k5e3.k7e4.k5e3"
PUBLISHED = {
    "pixel2_lat-25ms_top1-71.5_finetune-25": (1.0, 144, 79.3),
    "pixel2_lat-50ms_top1-74.7_finetune-25": (1.0, 208, 166.0),
    "note10_lat-41ms_top1-79.3_finetune-75": (1.2, 220, 457.3),
    "note10_lat-64ms_top1-80.2_finetune-75": (1.2, 260, 743.1),
}


def _block(in_width, width, kernel_size, ratio, stride, act_func, use_se, shortcut):
    convolution = {
        "in_channels": in_width,
        "out_channels": width,
        "kernel_size": kernel_size,
        "stride": stride,
        "expand_ratio": ratio,
        "mid_channels": None,
        "act_func": act_func,
        "use_se": use_se,
    }
    return {"mobile_inverted_conv": convolution, "shortcut": {"name": "IdentityLayer"} if shortcut else None}


def _net_config(text, width_mult=1.0):
    """The net.config that describes a subnet, in the once-for-all project's words."""
    subnet = SubnetConfig.parse(text)
    width = make_divisible(16 * width_mult)
    first_conv = {"out_channels": width, "kernel_size": 3, "stride": 2, "act_func": "h_swish"}
    blocks = [_block(width, width, 3, 1, 1, "relu", False, True)]
    for stage, stage_blocks in enumerate(subnet.stages):
        for i, block in enumerate(stage_blocks):
            out_width = make_divisible(STAGE_WIDTHS[stage] * width_mult)
            act_func = "h_swish" if STAGE_HSWISH[stage] else "relu"
            stride = STAGE_STRIDES[stage] if i == 0 else 1
            shape = (width, out_width, block.kernel_size, block.expand_ratio, stride)
            blocks.append(_block(*shape, act_func, STAGE_SQUEEZE_EXCITE[stage], i > 0))
            width = out_width
    return {
        "first_conv": first_conv,
        "blocks": blocks,
        "final_expand_layer": {"out_channels": make_divisible(960 * width_mult), "act_func": "h_swish"},
        "feature_mix_layer": {"out_channels": make_divisible(1280 * width_mult), "act_func": "h_swish"},
        "classifier": {"out_features": 1000},
    }


@pytest.mark.parametrize("width_mult", [1.0, 1.2])
def test_a_config_becomes_the_subnet_that_it_describes(width_mult):
    classifier = parse_ofa_classifier(_net_config(SUBNET, width_mult), {"image_size": 208})
    assert str(classifier.subnet) == SUBNET
    assert classifier.backbone.width_mult == width_mult
    assert classifier.plan.layers[-1].out_channels == 1000


def test_the_classifier_has_the_macs_of_the_published_one():
    plan = parse_ofa_classifier(_net_config(SUBNET), {"image_size": 208}).plan
    assert plan.macs / 1e6 == pytest.approx(166.0, abs=0.05)


@pytest.mark.parametrize(
    ("index", "key", "value", "message"),
    [
        (3, "use_se", False, r"expected use_se True in blocks\[3\], found False"),
        (1, "stride", 1, r"expected stride 2 in blocks\[1\], found 1"),
        (5, "act_func", "relu", r"expected act_func h_swish in blocks\[5\], found relu"),
        (2, "out_channels", 48, r"expected stage widths \[24, 40, 80, 112, 160\], found 48 in blocks\[2\]"),
        (2, "out_channels", 80, r"expected 40 channels, found 80 in blocks\[2\]"),
        (4, "mid_channels", 100, r"expected mid_channels 120 in blocks\[4\], found 100"),
        (0, "use_se", True, r"expected use_se False in blocks\[0\], found True"),
    ],
)
def test_networks_outside_the_space_are_refused(index, key, value, message):
    net = copy.deepcopy(_net_config(SUBNET))
    net["blocks"][index]["mobile_inverted_conv"][key] = value
    with pytest.raises(ValueError, match=message):
        parse_ofa_classifier(net, {"image_size": 208})


def test_other_widths_and_missing_keys_are_refused():
    net = _net_config(SUBNET)
    with pytest.raises(ValueError, match="no 'image_size'"):
        parse_ofa_classifier(net, {})
    with pytest.raises(ValueError, match="no 'blocks'"):
        parse_ofa_classifier({"name": "ResNet"}, {"image_size": 224})
    net["first_conv"]["out_channels"] = 32
    with pytest.raises(ValueError, match=r"expected first_conv with \[16, 24\] channels, found 32"):
        parse_ofa_classifier(net, {"image_size": 208})


def test_files_are_read_in_pairs(tmp_path):
    net, run = tmp_path / "net.config", tmp_path / "run.config"
    net.write_text(json.dumps(_net_config(SUBNET)))
    with pytest.raises(FileNotFoundError, match=r"expected run\.config beside"):
        read_ofa_classifier(net)
    run.write_text('{"image_size": 208}')
    assert str(read_ofa_classifier(net).subnet) == SUBNET
    net.write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        read_ofa_classifier(net)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks(name):
    path = Path(__file__).parents[2] / "../shared/latency/ofa_specialized" / name / "net.config"
    if not path.is_file():
        pytest.skip("no published once-for-all networks beside the checkout")
    width_mult, resolution, mmacs = PUBLISHED[name]
    classifier = read_ofa_classifier(path)
    assert classifier.backbone.width_mult == width_mult
    assert classifier.subnet.resolution == resolution
    assert classifier.plan.macs / 1e6 == pytest.approx(mmacs, abs=0.06)
