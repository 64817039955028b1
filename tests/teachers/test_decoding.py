"""Decodings by hand, of 64 px inputs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ofa_det.artefacts.configs import configs_folder
from ofa_det.artefacts.records import read_yaml, to_plain
from ofa_det.teachers.decoder import Decoder, GridOutput, InputFormat, ListOutput, read_decoder, shipped_decoders
from ofa_det.teachers.decoding import cells, decode

SIZE = 64, 64
STRETCH = InputFormat(channels="rgb", resize="stretch")
STRIDE_16 = 8 * 8 + 4 * 1 + 2  # Row 1, column 2 of the second level of strides 8, 16, 32.


def grid(**options: Any) -> Decoder:
    return Decoder(input=STRETCH, grid=GridOutput(**{"strides": (8, 16, 32), "columns": ("box", "classes"), **options}))


def listed(**options: Any) -> Decoder:
    return Decoder(input=STRETCH, list=ListOutput(**options))


def test_cells_are_level_by_level_and_row_by_row() -> None:
    places = cells(GridOutput(strides=(8, 16, 32), columns=("box", "classes"), box="offsets"), (64, 40))
    assert len(places) == 8 * 5 + 4 * 3 + 2 * 2
    assert places[6].tolist() == [1, 1, 8]
    assert places[40 + 4].tolist() == [1, 1, 16]


def test_offsets_of_yolox() -> None:
    rows = np.zeros((84, 7), np.float32)
    rows[STRIDE_16] = [0.5, 0.25, 0.0, math.log(2), 0.5, 0.4, 0.8]
    found = decode(read_decoder("yolox"), {"output": rows}, SIZE)
    assert found.boxes_px[STRIDE_16] == pytest.approx([40 - 8, 20 - 16, 40 + 8, 20 + 16])
    assert found.scores[STRIDE_16] == pytest.approx([0.2, 0.4])


def test_boxes_that_yolox_decoded() -> None:
    rows = np.zeros((84, 7), np.float32)
    rows[5] = [40, 20, 16, 32, 0.5, 0.4, 0.8]
    found = decode(read_decoder("yolox_decoded"), {"output": rows}, SIZE)
    assert found.boxes_px[5] == pytest.approx([32, 4, 48, 36])
    assert found.scores[5] == pytest.approx([0.2, 0.4])


def test_bins_of_nanodet() -> None:
    """All the weight on bin 3 to the left, halves on bins 0 and 1 to the top, equal weights of 0 to 7 elsewhere."""
    bins = np.zeros((4, 8))
    bins[0], bins[0, 3] = -50, 50
    bins[1], bins[1, :2] = -50, 50
    rows = np.zeros((85, 2 + 32), np.float32)
    rows[STRIDE_16] = [0.1, 0.7, *bins.ravel()]
    found = decode(read_decoder("nanodet"), {"output": rows}, SIZE)
    assert found.boxes_px[STRIDE_16] == pytest.approx([32 - 3 * 16, 16 - 0.5 * 16, 32 + 3.5 * 16, 16 + 3.5 * 16])
    assert found.scores[STRIDE_16] == pytest.approx([0.1, 0.7])


def test_distances_from_the_middle_of_a_cell_and_logits() -> None:
    rows = np.zeros((84, 6), np.float32)
    rows[STRIDE_16] = [0, math.log(3), 1, 0.5, 2, 1]
    decoder = grid(columns=("classes", "box"), box="distances", cell_point=0.5, scores="logits")
    found = decode(decoder, {"output": rows}, SIZE)
    assert found.boxes_px[STRIDE_16] == pytest.approx([40 - 16, 24 - 8, 40 + 32, 24 + 16])
    assert found.scores[STRIDE_16] == pytest.approx([0.5, 0.75])


def test_cells_may_come_last() -> None:
    columns = np.zeros((6, 84), np.float32)
    columns[:, 7] = [40, 20, 16, 32, 0.1, 0.9]
    found = decode(read_decoder("yolov8"), {"output0": columns}, SIZE)
    assert found.boxes_px[7] == pytest.approx([32, 4, 48, 36])
    assert found.scores[7] == pytest.approx([0.1, 0.9])


def test_lists_of_torchvision_and_mmdeploy() -> None:
    boxes = np.array([[1, 2, 30, 40]], np.float32)
    outputs = {"boxes": boxes, "scores": np.array([0.5], np.float32), "labels": np.array([3], np.float32)}
    found = decode(read_decoder("boxes_scores_labels"), outputs, SIZE)
    assert found.boxes_px.tolist() == boxes.tolist()
    assert (found.scores.tolist(), found.labels.tolist()) == ([0.5], [2])
    dets = np.array([[1, 2, 30, 40, 0.5]], np.float32)
    found = decode(read_decoder("mmdeploy"), {"dets": dets, "labels": np.array([3], np.float32)}, SIZE)
    assert found.boxes_px.tolist() == boxes.tolist()
    assert (found.scores.tolist(), found.labels.tolist()) == ([0.5], [3])


def test_orders_and_units_of_lists() -> None:
    labels = {"scores": np.array([[0.5, 0.1]], np.float32)}
    for corners, box in (
        ("xyxy", [0.25, 0.5, 0.75, 1]),
        ("yxyx", [0.5, 0.25, 1, 0.75]),
        ("centre", [0.5, 0.75, 0.5, 0.5]),
    ):
        decoder = listed(boxes="b", scores="scores", corners=corners, unit="fractions")
        found = decode(decoder, {"b": np.array([box], np.float32), **labels}, (40, 80))
        assert found.boxes_px == pytest.approx(np.array([[20, 20, 60, 40]]))
        assert found.labels is None
        assert found.scores.shape == (1, 2)


@pytest.mark.parametrize(
    ("decoder", "outputs", "message"),
    [
        ("yolox", {"output": (84, 5)}, "84 cells and more than 5 columns, found"),
        ("yolox", {"output": (80, 85)}, r"84 cells and more than 5 columns, found \(80, 85\)"),
        ("yolox", {"a": (84, 85), "b": (2,)}, "one output, found a, b"),
        ("mmdeploy", {"dets": (3, 5), "classes": (3,)}, "outputs dets, labels, found dets, classes"),
        ("mmdeploy", {"dets": (3, 4), "labels": (3,)}, r"dets \(boxes, 5\), found \(3, 4\)"),
        ("boxes_scores_labels", {"boxes": (3, 4), "scores": (2,), "labels": (3,)}, r"scores \(3,\), found \(2,\)"),
        ("ofa_det", {"boxes": (3, 4), "scores": (3,)}, r"scores \(3, classes\), found \(3,\)"),
    ],
)
def test_other_outputs_are_refused(decoder: str, outputs: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode(read_decoder(decoder), {name: np.zeros(shape, np.float32) for name, shape in outputs.items()}, SIZE)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strides": ()}, "strides of at least 1"),
        ({"columns": ("box", "objectness")}, "columns of box, classes"),
        ({"box": "bins"}, "bins >= 2"),
        ({"box": "offsets", "bins": 8}, "bins >= 2"),
    ],
)
def test_impossible_grids_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grid(**{"box": "offsets", **wrong})


def test_impossible_decoders_are_refused() -> None:
    with pytest.raises(ValueError, match="either grid or list"):
        Decoder(input=STRETCH)
    with pytest.raises(ValueError, match="scores or of labels"):
        listed(boxes="boxes")
    with pytest.raises(FileNotFoundError, match=r"one of boxes_scores_labels, mmdeploy, .*, found 'yolo'"):
        read_decoder("yolo")


@pytest.mark.parametrize("path", sorted((configs_folder() / "teachers").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_is_complete_and_says_how_it_is_used(path: Path) -> None:
    content, known = read_yaml(path), to_plain(read_decoder(path.stem))
    wanted = {key: value for key, value in known.items() if value is not None}
    assert content.keys() == wanted.keys()
    for section in content.keys() - {"auto"}:
        assert content[section].keys() == wanted[section].keys()
    assert "#   python tools/label_with_teacher.py --teacher" in path.read_text()


def test_files_that_nothing_tells_apart_are_not_tried() -> None:
    assert "mmdeploy" in shipped_decoders()
    assert "mmdeploy_rgb" not in shipped_decoders()
    assert read_decoder("mmdeploy_rgb").input.channels == "rgb"
