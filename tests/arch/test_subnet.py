import json

import pytest

from ofa_det.arch.subnet import BlockConfig, SubnetConfig

SUBNET = SubnetConfig(
    resolution=320,
    stages=(
        (BlockConfig(kernel_size=3, expand_ratio=6), BlockConfig(kernel_size=5, expand_ratio=4)),
        (BlockConfig(kernel_size=7, expand_ratio=3),),
    ),
)


def test_text_form_and_its_inverse() -> None:
    assert str(SUBNET) == "r320 k3e6.k5e4 k7e3"
    assert SubnetConfig.parse(str(SUBNET)) == SUBNET


def test_json_round_trip_through_text() -> None:
    assert SubnetConfig.from_json(json.loads(json.dumps(SUBNET.to_json()))) == SUBNET


def test_json_with_extra_keys_is_read() -> None:
    assert SubnetConfig.from_json({**SUBNET.to_json(), "ap": 0.5}) == SUBNET


def test_equal_values_are_one_key() -> None:
    twin = SubnetConfig.parse(str(SUBNET))
    assert twin is not SUBNET
    assert {SUBNET: 1}[twin] == 1
    assert hash(twin) == hash(SUBNET)
    assert SubnetConfig.parse("r320 k3e6.k5e4 k7e4") != SUBNET


def test_depth_is_a_part_of_the_value() -> None:
    assert SubnetConfig.parse("r320 k3e6 k7e3") != SUBNET


def test_subnets_sort() -> None:
    texts = ["r320 k3e3", "r192 k5e6", "r192 k3e6.k3e3", "r192 k3e6"]
    ordered = [str(subnet) for subnet in sorted(SubnetConfig.parse(text) for text in texts)]
    assert ordered == ["r192 k3e6", "r192 k3e6.k3e3", "r192 k5e6", "r320 k3e3"]


@pytest.mark.parametrize("text", ["", "320", "r320", "r320 k3", "r320 k3e", "r320 k4e3", "r320 k3e3..k3e3", "r0 k3e3"])
def test_broken_text_is_an_error_that_quotes_it(text: str) -> None:
    with pytest.raises(ValueError, match=f"found '{text}'"):
        SubnetConfig.parse(text)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"schema_version": 2, "resolution": 320, "stages": []},
        {"schema_version": 1, "resolution": 320},
        {"schema_version": 1, "resolution": 320, "stages": []},
        {"schema_version": 1, "resolution": 320, "stages": [[]]},
        {"schema_version": 1, "resolution": 320, "stages": [[3]]},
        {"schema_version": 1, "resolution": None, "stages": [[{"kernel_size": 3, "expand_ratio": 3}]]},
        {"schema_version": 1, "resolution": 320, "stages": [[{"kernel_size": 3}]]},
        {"schema_version": 1, "resolution": 320, "stages": [[{"kernel_size": 2, "expand_ratio": 3}]]},
    ],
)
def test_broken_json_is_a_value_error(value: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        SubnetConfig.from_json(value)


@pytest.mark.parametrize(("kernel_size", "expand_ratio"), [(2, 3), (0, 3), (-1, 3), (3, 0)])
def test_impossible_blocks_are_refused(kernel_size: int, expand_ratio: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        BlockConfig(kernel_size=kernel_size, expand_ratio=expand_ratio)
