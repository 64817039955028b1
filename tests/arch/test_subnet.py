import json

import pytest

from ofa_det.arch.subnet import BlockConfig, SubnetConfig
from ofa_det.artefacts.records import from_plain, to_plain

SUBNET = SubnetConfig(
    resolution=320,
    stages=(
        (BlockConfig(kernel_size=3, expand_ratio=6), BlockConfig(kernel_size=5, expand_ratio=4, kind="fused")),
        (BlockConfig(kernel_size=7, expand_ratio=1),),
    ),
)


def test_text_form_and_its_inverse() -> None:
    assert str(SUBNET) == "r320 k3e6.k5e4f k7e1"
    assert SubnetConfig.parse(str(SUBNET)) == SUBNET


def test_json_round_trip_through_text() -> None:
    assert from_plain(SubnetConfig, json.loads(json.dumps(to_plain(SUBNET))), where="x") == SUBNET


def test_equal_values_are_one_key() -> None:
    twin = SubnetConfig.parse(str(SUBNET))
    assert twin is not SUBNET
    assert {SUBNET: 1}[twin] == 1
    assert hash(twin) == hash(SUBNET)


@pytest.mark.parametrize(
    "text", ["r320 k3e6.k5e4f k7e3", "r320 k3e6.k5e4 k7e1", "r320 k3e6 k7e1", "r288 k3e6.k5e4f k7e1"]
)
def test_kernel_ratio_kind_depth_and_resolution_are_parts_of_the_value(text: str) -> None:
    assert SubnetConfig.parse(text) != SUBNET


def test_subnets_sort() -> None:
    texts = ["r320 k3e3", "r192 k5e6", "r192 k3e6.k3e3", "r192 k3e6"]
    ordered = [str(subnet) for subnet in sorted(SubnetConfig.parse(text) for text in texts)]
    assert ordered == ["r192 k3e6", "r192 k3e6.k3e3", "r192 k5e6", "r320 k3e3"]


@pytest.mark.parametrize("text", ["", "320", "r320", "r320 k3", "r320 k3e", "r320 k3e3g", "r320 k3e3..k3e3", "r k3e3"])
def test_broken_text_is_an_error_that_quotes_it(text: str) -> None:
    with pytest.raises(ValueError, match=f"a word a stage, found '{text}'"):
        SubnetConfig.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [("r320 k4e3", "odd kernel_size, found 4"), ("r320 k3e0", "found 0"), ("r31 k3e3", "at least 32 px, found 31")],
)
def test_impossible_networks_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SubnetConfig.parse(text)


@pytest.mark.parametrize("stages", [(), ((),)])
def test_no_stage_is_empty(stages: tuple[tuple[BlockConfig, ...], ...]) -> None:
    with pytest.raises(ValueError, match="at least one block in every stage"):
        SubnetConfig(resolution=320, stages=stages)
