"""Readers of files that come from elsewhere, on seeded mutations of sound ones.

They raise nothing but the stated errors, and what they accept holds: boxes lie in their images, and a value that is
written again comes back the same.
"""

from __future__ import annotations

import copy
import json
import logging
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from PIL import Image

from ofa_det.arch.levels import AnchorFit
from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import configs_folder
from ofa_det.artefacts.files import parse_json
from ofa_det.artefacts.onnx_external import external_data
from ofa_det.artefacts.records import from_plain, parse_record, parse_yaml, record_content, to_plain, to_yaml
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.formats.csv_table import COLUMNS, read_csv
from ofa_det.data.formats.source import Source
from ofa_det.data.formats.voc import read_voc
from ofa_det.data.formats.writing import FilePlacer, write_coco
from ofa_det.data.formats.yolo import read_yolo
from ofa_det.data.problems import Problems

OTHER_SIZE = "images of another size than stated; boxes are taken relative to the stated size"
STATED = (ValueError, FileNotFoundError)
PIECES = [
    *(b"NaN", b"-Infinity", b"1e999", b"null", b"true", b"[]", b"{}", b'""', b"-1", b"0", b"9" * 30, b"9" * 400),
    *(b"../", b"\0", b"\xff\xfe", b"\\ud800", b"&a", b"*a", b"<!DOCTYPE a>", b"]]>", b'"', b",", b"\n", b":", b"<a>"),
]
VALUES = [
    None,
    True,
    -1,
    0,
    1.5,
    10**30,
    -(10**30),
    10**400,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../a",
    "\0",
    "\ud800",
]
VALUES += [[], {}, [[1]], [1, 2, 3, 4], ["a"], {"a": 1}, 2**63, 2**31]

SHARE_WRITTEN = 0.2

VOC = b"""<?xml version="1.0" encoding="utf-8"?><annotation><filename>a.png</filename><size><width>80</width>
<height>40</height></size><object><name>fox</name><difficult>0</difficult><bndbox><xmin>11</xmin><ymin>6</ymin>
<xmax>30</xmax><ymax>25</ymax></bndbox></object></annotation>"""
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 80, "height": 40}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 20], "area": 5.0, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [1.5, 2, 3, 4], "segmentation": [[1, 2, 3, 4]]},
    ],
    "categories": [{"id": 1, "name": "fox"}, {"id": 3, "name": "hen"}],
}
LABEL = b"0 0.5 0.5 0.25 0.5\n1 0.1 0.2 0.5 0.2 0.3 0.9\n"
NAMES = b"path: .\ntrain: images/train\nval: [images/val]\nnc: 2\nnames: {0: fox, 1: hen}\n"
TABLE = ",".join(COLUMNS).encode() + b"\na.png,80,40,fox,1,2,30,20\na.png,80,40,hen,3,4,5,6\n"


def mangled(content: bytes, rng: random.Random) -> bytes:
    """Bytes with some changed, left out, repeated or replaced by pieces that readers stumble over."""
    found = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(found) + 1)
        end = min(len(found), start + rng.choice((0, 1, 1, 3, 10, 40)))
        found[start:end] = rng.choice(
            (b"", bytes([rng.randrange(256)]), rng.choice(PIECES), rng.choice(PIECES), bytes(found[start:end]) * 2)
        )
    return bytes(found[: rng.randrange(len(found) + 1)] if rng.random() < 0.1 else found)


def twisted(value: object, rng: random.Random) -> object:
    """JSON types with one value, anywhere, replaced or left out."""
    found = copy.deepcopy(value)
    places = []

    def walk(node: object) -> None:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    walk(found)
    node, key = rng.choice(places)
    if isinstance(node, dict) and rng.random() < 0.15:
        del node[key]
    else:
        node[key] = rng.choice(VALUES)
    return found


def survive(read, cases: int, what: str, *, may_always_end_well: bool = False) -> None:
    """Runs a reader on so many seeds; each ends well or as stated, and some end either way."""
    ends = {True: 0, False: 0}
    for seed in range(cases):
        try:
            read(random.Random(f"{what} {seed}"))
            ends[True] += 1
        except STATED:
            ends[False] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed} of {what}") from error
    assert ends[True]
    assert ends[False] or may_always_end_well


@pytest.fixture
def root(tmp_path, caplog) -> Path:
    caplog.set_level(logging.CRITICAL)
    for folder in ("train2017", "images/train", "images/val", "."):
        (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 40)).save(tmp_path / "data" / folder / "a.png")
    return tmp_path / "data"


def check_dataset(dataset: CocoDataset, root: Path) -> None:
    """Boxes lie in their images, and the ground truth is a file of the same data set, without a fault."""
    for index in range(len(dataset)):
        annotations = dataset.annotations(index)
        assert ((annotations.boxes >= 0) & (annotations.boxes <= 1)).all()  # Not-a-number is neither.
        assert (annotations.boxes[:, 2:] > annotations.boxes[:, :2]).all()
        assert ((annotations.labels >= 0) & (annotations.labels < len(dataset.categories))).all()
    truth = dataset.ground_truth()
    assert np.isfinite([entry["area"] for entry in truth["annotations"]]).all()
    (root.parent / "again.json").write_text(json.dumps(truth))
    problems = Problems("again.json")
    again = CocoDataset.open(root.parent / "again.json", root / "train2017", problems=problems)
    assert again.ground_truth() == truth
    assert again.fingerprint() == dataset.fingerprint()
    assert {problem.kind for problem in problems.found()} <= {OTHER_SIZE}


@pytest.mark.parametrize("structured", [True, False])
def test_coco_annotations(root, structured):
    file = root / "annotations.json"

    def read(rng):
        content = json.dumps(twisted(COCO, rng) if structured else COCO).encode()
        file.write_bytes(content if structured else mangled(content, rng))
        check_dataset(CocoDataset.open(file, root / "train2017"), root)

    survive(read, 300, f"coco {structured}")


def check_source(source: Source, root: Path, rng: random.Random) -> None:
    """Boxes lie in their images, and some data sets, since files take time, are the same in COCO layout."""
    for image in source.images:
        height, width = image.size
        for box in image.boxes:
            x, y, w, h = box.bbox
            assert 0 <= x < x + w <= width + 1e-6
            assert 0 <= y < y + h <= height + 1e-6
    if not (source.images and source.categories) or rng.random() > SHARE_WRITTEN:
        return
    written, placed = root.parent / "written", {"train": source.images}
    shutil.rmtree(written, ignore_errors=True)
    write_coco(written, placed, source.categories, FilePlacer(root, placed, copy=False, done=lambda _: None))
    dataset = CocoDataset.open(written / "annotations/instances_train2017.json", written / "train2017")
    assert dataset.categories == source.categories
    assert [dataset.image_size(index) for index in range(len(dataset))] == [image.size for image in source.images]
    for index, image in enumerate(source.images):
        truth = dataset.subset(np.array([index])).ground_truth()["annotations"]
        found = [(entry["bbox"], entry["category_id"], entry["iscrowd"]) for entry in truth]
        stated = [(list(box.bbox), box.category_id, box.ignored) for box in image.boxes]
        # Written are three decimals, and slivers are no boxes.
        assert [one for one in found if wide(one[0])] == [(rounded(b), *rest) for b, *rest in stated if wide(b)]


def rounded(box: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in box]


def wide(box: Sequence[float]) -> bool:
    return min(rounded(box)[2:]) > 0.01


def test_voc(root):
    def read(rng):
        (root / "a.xml").write_bytes(mangled(VOC, rng))
        check_source(read_voc(root, Problems("fuzzed")), root, rng)

    survive(read, 250, "voc", may_always_end_well=True)  # Broken files are counted.


@pytest.mark.parametrize("of", ["names", "labels"])
def test_yolo(root, of):
    (root / "labels/train").mkdir(parents=True)

    def read(rng):
        (root / "data.yaml").write_bytes(mangled(NAMES, rng) if of == "names" else NAMES)
        (root / "labels/train/a.txt").write_bytes(LABEL if of == "names" else mangled(LABEL, rng))
        check_source(read_yolo(root, Problems("fuzzed")), root, rng)

    survive(read, 150, of, may_always_end_well=of == "labels")  # Lines are skipped.


def test_csv(root):
    def read(rng):
        (root / "a.csv").write_bytes(mangled(TABLE, rng))
        check_source(read_csv(root, Problems("fuzzed")), root, rng)

    survive(read, 200, "csv")


def check_space(value: object) -> None:
    """It comes back from plain types, and holds its ends and what is drawn from it."""
    space = from_plain(SearchSpace, value, where="x")
    assert from_plain(SearchSpace, json.loads(json.dumps(to_plain(space))), where="x") == space
    assert space.count() >= 1
    for subnet in (space.smallest(), space.largest(), space.sample(random.Random(0))):
        assert subnet in space
        assert SubnetConfig.parse(str(subnet)) == subnet


def test_yaml_and_spaces():
    def read_yaml(rng):
        value = parse_yaml(mangled(NAMES, rng), where="x")
        assert repr(parse_yaml(to_yaml(value), where="x")) == repr(value)  # Not-a-number equals nothing.

    survive(read_yaml, 300, "yaml")
    text = (configs_folder() / "spaces/ssdlite_mbv3_tiny.yaml").read_bytes()
    survive(lambda rng: check_space(parse_yaml(mangled(text, rng), where="x")), 100, "space")
    space = to_plain(from_plain(SearchSpace, parse_yaml(text, where="x"), where="x"))
    space = json.loads(json.dumps(space))
    survive(lambda rng: check_space(twisted(space, rng)), 300, "twisted space")


def test_records():
    recall = {"classes": [{"boxes": 4, "recalled": 3}], "levels": [{"boxes": 4, "recalled": 3}], "mean_iou": 0.5}
    level = {"feature": "last", "stride": 32, "anchors": [[0.5, 0.5]]}
    fit = {"schema_version": 4, "levels": [level], "recall": recall, "stock_recall": recall}
    parse_record(fit, AnchorFit, where="x")

    def read_record(rng):
        record = parse_record(twisted(fit, rng), AnchorFit, where="x")
        assert repr(parse_record(record_content(record), AnchorFit, where="x")) == repr(record)

    def read_json(rng):
        value = parse_json(mangled(text, rng), where="x")
        assert repr(parse_json(json.dumps(value), where="x")) == repr(value)

    survive(read_record, 300, "record")
    text = json.dumps(fit).encode()
    survive(read_json, 300, "json")


def test_external_data_of_onnx_files():
    def model(nested: bool, outside: bool) -> bytes:
        weight = onnx.numpy_helper.from_array(np.ones(4, np.float32), "w")
        if outside:
            onnx.external_data_helper.set_external_data(weight, "../secret")
            weight.ClearField("raw_data")
        if nested:
            inner = onnx.helper.make_graph([], "inner", [], [], [weight])
            node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
            return onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [])).SerializeToString()
        constant = onnx.helper.make_node("Constant", [], ["c"], value=weight)
        return onnx.helper.make_model(onnx.helper.make_graph([constant], "g", [], [])).SerializeToString()

    for nested in (True, False):
        assert external_data(model(nested, True)) == "../secret"
        assert external_data(model(nested, False)) is None
    content, parsed = model(True, True), 0
    for seed in range(500):
        rng = random.Random(seed)
        if seed % 2:
            changed = mangled(content, rng)
        else:  # Most of those are no message any more; with one other byte many are.
            place = rng.randrange(len(content))
            changed = content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :]
        found = external_data(changed)
        try:
            read = onnx.load_model_from_string(changed)
        except DecodeError:
            continue
        parsed += 1
        # What onnx would look for in another file is never overlooked.
        outside = [tensor for tensor in all_tensors(read.graph) if onnx.external_data_helper.uses_external_data(tensor)]
        assert found is not None or not outside
    assert 100 < parsed < 400


def all_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from all_tensors(inner)
