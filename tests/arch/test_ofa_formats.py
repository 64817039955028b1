import copy
import json
from pathlib import Path

import pytest
from ofa_networks import net_config

from ofa_det.arch.ofa_formats import parse_ofa_classifier
from ofa_det.artefacts.configs import read_space

SPACES = [read_space("ofa_mbv3_w1.0"), read_space("ofa_mbv3_w1.2")]
SUBNET = "r208 k3e1 k3e3.k3e4 k3e3.k3e3 k3e3.k5e6 k5e6.k7e4 k3e6.k5e3.k7e4.k5e3"
PUBLISHED = {
    "pixel2_lat-25ms_top1-71.5_finetune-25": (0, 144, 79.3),
    "pixel2_lat-50ms_top1-74.7_finetune-25": (0, 208, 166.0),
    "note10_lat-41ms_top1-79.3_finetune-75": (1, 220, 457.3),
    "note10_lat-64ms_top1-80.2_finetune-75": (1, 260, 743.1),
}


def _parse(net, resolution=208):
    return parse_ofa_classifier(net, {"image_size": resolution}, SPACES)


@pytest.mark.parametrize(("width_mult", "space", "feature_width"), [(1.0, 0, 1280), (1.2, 1, 1536)])
def test_a_config_becomes_the_subnet_that_it_describes(width_mult, space, feature_width):
    classifier = _parse(net_config(SUBNET, width_mult))
    assert str(classifier.subnet) == SUBNET
    assert classifier.backbone == SPACES[space].backbone
    assert (classifier.feature_width, classifier.num_classes) == (feature_width, 1000)
    assert [layer.out_channels for layer in classifier.plan.layers[-2:]] == [feature_width, 1000]


def test_the_classifier_has_the_macs_of_the_published_one():
    assert _parse(net_config(SUBNET)).plan.macs / 1e6 == pytest.approx(166.0, abs=0.05)


@pytest.mark.parametrize(
    ("index", "key", "value", "message"),
    [
        (3, "use_se", False, r"expected use_se True in blocks\[3\], found False"),
        (1, "stride", 1, r"expected stride 2 in blocks\[1\], found 1"),
        (5, "act_func", "relu", r"expected act_func h_swish in blocks\[5\], found relu"),
        (2, "out_channels", 48, r"expected stages of \[16, 24, 40, 80, 112, 160\] .* found 48 in blocks\[2\]"),
        (2, "out_channels", 80, r"expected stages of .* found 80 in blocks\[2\]"),
        (4, "mid_channels", 100, r"expected mid_channels 120 in blocks\[4\], found 100"),
        (4, "in_channels", 48, r"expected in_channels 40 in blocks\[4\], found 48"),
        (0, "use_se", True, r"expected use_se False in blocks\[0\], found True"),
        (2, "kernel_size", 9, r"expected \[2, 3, 4\] blocks .* in stage 1, found k3e3\.k9e4"),
    ],
)
def test_networks_outside_the_spaces_are_refused(index, key, value, message):
    net = copy.deepcopy(net_config(SUBNET))
    net["blocks"][index]["mobile_inverted_conv"][key] = value
    with pytest.raises(ValueError, match=message):
        _parse(net)


def test_a_missing_block_or_stage_is_refused():
    net = net_config(SUBNET)
    with pytest.raises(ValueError, match=r"in stage 5, found k3e6$"):
        _parse({**net, "blocks": net["blocks"][:-3]})
    with pytest.raises(ValueError, match="expected 6 stages, found 5"):
        _parse({**net, "blocks": net["blocks"][:-4]})
    net["blocks"][0]["shortcut"] = None
    with pytest.raises(ValueError, match=r"expected shortcut True in blocks\[0\], found False"):
        _parse(net)


def test_other_widths_and_missing_keys_are_refused():
    net = net_config(SUBNET)
    with pytest.raises(ValueError, match="no 'image_size'"):
        parse_ofa_classifier(net, {}, SPACES)
    with pytest.raises(ValueError, match="no 'first_conv'"):
        _parse({"name": "ResNet"})
    with pytest.raises(ValueError, match="expected out_channels 960 in final_expand_layer, found 480"):
        _parse({**net, "final_expand_layer": {**net["final_expand_layer"], "out_channels": 480}})
    net["first_conv"]["out_channels"] = 32
    with pytest.raises(ValueError, match=r"expected first_conv with \[16, 24\] channels, found 32"):
        _parse(net)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks(name):
    folder = Path(__file__).parents[2] / "../shared/latency/ofa_specialized" / name
    if not folder.is_dir():
        pytest.skip("no published once-for-all networks beside the checkout")
    net, run = (json.loads((folder / file).read_text()) for file in ("net.config", "run.config"))
    space, resolution, mmacs = PUBLISHED[name]
    classifier = parse_ofa_classifier(net, run, SPACES)
    assert classifier.backbone == SPACES[space].backbone
    assert classifier.subnet.resolution == resolution
    assert classifier.plan.macs / 1e6 == pytest.approx(mmacs, abs=0.06)
