import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from ofa_det.arch.description import ModelDescription
from ofa_det.arch.levels import AnchorFit, AnchorRecall, LevelSpec, Recall
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.evaluations import ChosenSubnet
from ofa_det.artefacts.records import (
    check_identity,
    from_plain,
    read_record,
    read_yaml,
    to_plain,
    to_yaml,
    write_record,
)


@dataclass(frozen=True, kw_only=True)
class Leaf:
    count: int
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"expected count >= 0, found {self.count}")


@dataclass(frozen=True, kw_only=True)
class Tree:
    SCHEMA_VERSION: ClassVar[int] = 3

    name: str
    mode: Literal["fast", "exact"] = "fast"
    on: bool = False
    leaves: tuple[Leaf, ...] = ()
    pair: tuple[int, float] = (0, 0.0)
    leaf: Leaf | None = None
    scales: Mapping[str, float] | None = None
    anything: Any = None


FULL = Tree(
    name="x",
    mode="exact",
    on=True,
    leaves=(Leaf(count=1), Leaf(count=2, share=0.1 + 0.2)),
    pair=(1, 1 / 3),
    leaf=Leaf(count=0),
    scales={"a": 1e-300},
    anything={"b": [1, None, "c"]},
)


@pytest.mark.parametrize(
    "record",
    [
        FULL,
        Tree(name="x"),
        ChosenSubnet(subnet=read_space("ssdlite_mbv3").largest(), ap=0.25, latency_ms=40.5, device="pixel2"),
        AnchorFit(
            levels=(
                LevelSpec(feature="stages.2", stride=16, anchors=((0.1, 0.2),)),
                LevelSpec(feature="last", stride=32, anchors=((0.3, 0.4), (0.5, 0.6))),
            ),
            recall=AnchorRecall(
                classes=(Recall(boxes=4, recalled=3),), levels=(Recall(boxes=4, recalled=3),), mean_iou=0.7
            ),
            stock_recall=AnchorRecall(classes=(Recall(boxes=4, recalled=2),), levels=(), mean_iou=0.6),
        ),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_comes_back_the_same(tmp_path: Path, record: Any) -> None:
    path = tmp_path / "x.json"
    write_record(path, record)
    assert json.loads(path.read_text())["schema_version"] == record.SCHEMA_VERSION
    assert read_record(path, type(record)) == record


def test_a_description_comes_back_the_same(description: ModelDescription) -> None:
    assert from_plain(ModelDescription, json.loads(json.dumps(to_plain(description))), where="x") == description


def test_yaml_comes_back_the_same(tmp_path: Path) -> None:
    space = read_space("ssdlite_mbv3")
    path = tmp_path / "x.yaml"
    path.write_text(to_yaml(space))
    assert from_plain(SearchSpace, read_yaml(path), where="x") == space


def test_fields_with_a_default_may_be_missing_and_whole_numbers_are_floats() -> None:
    tree = from_plain(Tree, {"name": "x", "leaves": [{"count": 1, "share": 1}]}, where="x")
    assert tree == Tree(name="x", leaves=(Leaf(count=1, share=1.0),))
    assert isinstance(tree.leaves[0].share, float)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nane": 1}, "expected keys of name, mode, .*anything, found 'nane'"),
        ({1: 1, "nane": 1}, "found 1;"),
        ({"leaves": [{"count": 1}, {"cuont": 1}]}, r"keys of count, share at leaves\[1\], found 'cuont'"),
        ({"leaf": {}}, "expected 'count' at leaf, found none"),
        ({"leaf": {"count": -1}}, "count >= 0, found -1 at leaf"),
        ({"name": 1}, "a str at name, found 1"),
        ({"name": None}, "a str at name, found None"),
        ({"on": 1}, "a bool at on, found 1"),
        ({"mode": "slow"}, "one of 'fast', 'exact' at mode, found 'slow'"),
        ({"mode": ["fast"]}, "one of 'fast', 'exact' at mode"),
        ({"leaf": {"count": True}}, r"an int at leaf\.count, found True"),
        ({"leaf": {"count": 1.0}}, r"an int at leaf\.count, found 1\.0"),
        ({"leaf": {"count": 1, "share": True}}, r"a float at leaf\.share, found True"),
        ({"leaf": {"count": 1, "share": "1e-4"}}, r"a float at leaf\.share, found '1e-4'"),
        ({"leaf": [1]}, r"an object at leaf, found \[1\]"),
        ({"leaves": {"count": 1}}, "a list at leaves"),
        ({"leaves": "ab"}, "a list at leaves, found 'ab'"),
        ({"pair": [1]}, r"a list of 2 at pair, found \[1\]"),
        ({"pair": [1, "a"]}, r"a float at pair\[1\], found 'a'"),
        ({"scales": {"a": "b"}}, r"a float at scales\.a, found 'b'"),
        ({"scales": [1.0]}, "an object at scales"),
    ],
)
def test_what_does_not_fit_is_refused_where_it_stands(changes: dict[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^FILE: expected .*{message.removeprefix('expected ')}"):
        from_plain(Tree, {"name": "x", **changes}, where="FILE")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ValueError, match=r"^FILE: expected 'name', found none"):
        from_plain(Tree, {}, where="FILE")
    with pytest.raises(ValueError, match=r"^FILE: expected an object, found None"):
        from_plain(Tree, None, where="FILE")


@pytest.mark.parametrize("content", ['{"name": "x"}', '{"schema_version": 2, "name": "x"}', "[]"])
def test_another_schema_version_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"expected .*x\.json of schema_version 3, found (none|2); make it anew"):
        read_record(path, Tree)


def test_broken_yaml_is_an_error_of_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: [1\nb: 2\n")
    with pytest.raises(ValueError, match=r"expected YAML in .*x\.yaml, found .* line 2") as error:
        read_yaml(path)
    assert "\n" not in str(error.value)


def test_identities_compare_as_a_file_would_hold_them() -> None:
    identity = {"seed": 0, "sizes": (1, 2), "leaf": Leaf(count=1)}
    as_file = {"sizes": [1, 2], "leaf": {"count": 1, "share": 0.5}, "seed": 0}
    check_identity(as_file, identity, where="FILE", mend="mend it")
    for other in ({**as_file, "seed": 1}, {key: value for key, value in as_file.items() if key != "seed"}):
        with pytest.raises(ValueError, match=r"expected seed 0 in FILE, found (1|None); mend it"):
            check_identity(other, identity, where="FILE", mend="mend it")
    check_identity(as_file, {**identity, "younger": ()}, where="FILE", mend="mend it")
    with pytest.raises(ValueError, match=r"expected younger \[1\] in FILE, found None"):
        check_identity(as_file, {**identity, "younger": (1,)}, where="FILE", mend="mend it")
    with pytest.raises(ValueError, match=r"expected younger \[\] in FILE, found \[1\]"):
        check_identity({**as_file, "younger": [1]}, {**identity, "younger": ()}, where="FILE", mend="mend it")
    with pytest.raises(ValueError, match="expected extra None in FILE, found 5"):
        check_identity({**as_file, "extra": 5}, identity, where="FILE", mend="mend it")
