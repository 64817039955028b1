"""Which decoder a file gets, from its names, shapes and values."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ofa_det.artefacts.records import to_yaml
from ofa_det.teachers.decoder import GridOutput, read_decoder
from ofa_det.teachers.decoding import cells
from ofa_det.teachers.onnx_file import OnnxFile
from ofa_det.teachers.probing import choose_decoder

from .conftest import WriteOnnx

CLASSES = 6


def yolox_rows(seed: int = 0) -> NDArray[np.float32]:
    """(84, 5 + C) as a trained file gives them: offsets about 0, low scores."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 1, (84, 4)), rng.uniform(0, 0.4, (84, 1 + CLASSES))], axis=1).astype(
        np.float32
    )


def decoded_rows() -> NDArray[np.float32]:
    """The same with boxes in pixels, as YOLOX's exporter decodes them."""
    rows = yolox_rows()
    places = cells(GridOutput(strides=(8, 16, 32), columns=("box", "classes"), box="offsets"), (64, 64))
    rows[:, :2] = (rows[:, :2] + places[:, :2]) * places[:, 2:]
    rows[:, 2:4] = np.exp(rows[:, 2:4]) * places[:, 2:]
    return rows


def nanodet_rows() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    scores, bins = rng.uniform(0, 0.4, (85, CLASSES)), rng.normal(0, 2, (85, 32))
    return np.concatenate([scores, bins], axis=1).astype(np.float32)


BOXES = np.array([[4, 4, 30, 40], [10, 20, 60, 60]], np.float32)
SCORES = np.array([0.9, 0.3], np.float32)
LABELS = np.array([1, 2], np.int64)
YOLOV8 = np.delete(decoded_rows(), 4, axis=1).T.copy()
DETS = np.concatenate([BOXES, SCORES[:, None]], axis=1)
CLASS_SCORES = np.array([[0.9, 0.1], [0.2, 0.3]], np.float32)


@pytest.mark.parametrize(
    ("expected", "outputs", "classes"),
    [
        ("yolox", {"output": yolox_rows()}, CLASSES),
        ("yolox_decoded", {"output": decoded_rows()}, CLASSES),
        ("nanodet", {"output": nanodet_rows()}, CLASSES),
        ("yolov8", {"output0": YOLOV8}, CLASSES),
        ("boxes_scores_labels", {"boxes": BOXES, "scores": SCORES, "labels": LABELS}, None),
        ("mmdeploy", {"dets": DETS, "labels": LABELS}, None),
    ],
)
@pytest.mark.parametrize("batch", [1, 2, "free"])
def test_a_file_gets_the_decoder_that_fits(
    write_onnx: WriteOnnx, expected: str, outputs: dict[str, NDArray[np.float32]], classes: int | None, batch: int | str
) -> None:
    chosen = choose_decoder(OnnxFile(write_onnx(outputs, batch=batch), threads=1), "auto")
    assert (chosen.name, chosen.num_classes) == (expected, classes)
    assert chosen.decoder == read_decoder(expected)


def test_an_export_of_ours_takes_bytes(write_onnx: WriteOnnx) -> None:
    onnx = pytest.importorskip("onnx")
    outputs = {"boxes": BOXES / 64, "scores": CLASS_SCORES}
    path = write_onnx(outputs, shape=(64, 64, 3), dtype=onnx.TensorProto.UINT8)
    assert choose_decoder(OnnxFile(path, threads=1), "auto")[::2] == ("ofa_det", 2)


def test_a_file_without_batch_takes_one_image(write_onnx: WriteOnnx) -> None:
    outputs = {"boxes": BOXES, "scores": SCORES, "labels": LABELS}
    for shape in ((3, 64, 64), (3, "height", "width")):
        path = write_onnx(outputs, batch=None, shape=shape)
        assert choose_decoder(OnnxFile(path, threads=1), "auto").name == "boxes_scores_labels"


def test_a_decoded_yolox_is_not_taken_for_a_raw_one(write_onnx: WriteOnnx) -> None:
    """Read as raw, its sizes overflow; read as decoded, a raw file's boxes lie in a corner."""
    rows = decoded_rows()
    rows[:, 2:4] += 100  # exp() of this is beyond float32.
    for decoder, values, message in (("yolox", rows, "not finite"), ("yolox_decoded", yolox_rows(), "without extent")):
        with pytest.raises(ValueError, match=f"expected decoder {decoder} to fit .*{message}"):
            choose_decoder(OnnxFile(write_onnx({"output": values}), threads=1), decoder)
    positive = yolox_rows()
    positive[:, :4] = 0.7
    with pytest.raises(ValueError, match="strides away from their cells"):
        choose_decoder(OnnxFile(write_onnx({"output": np.abs(positive)}), threads=1), "yolox_decoded")


@pytest.mark.parametrize(
    ("outputs", "messages"),
    [
        ({"output": yolox_rows()[:80]}, ["yolox: expected an output (cells, columns) of 84 cells", "found (80, 11)"]),
        (
            {"output": yolox_rows() + np.array([0] * 5 + [9.0] * CLASSES, np.float32)},
            ["yolox: scores of", "not of 0 to 1"],
        ),
        ({"output": np.full((84, 11), 0.9, np.float32)}, ["yolox: scores above 0.5 in 100% of the cells"]),
        (
            {"boxes": BOXES / 64, "scores": SCORES, "labels": LABELS},
            ["end at 0.94, which are fractions and not pixels"],
        ),
        ({"boxes": BOXES + 90, "scores": SCORES, "labels": LABELS}, ["100% of the boxes outside of the image"]),
        ({"boxes": BOXES, "scores": SCORES, "labels": LABELS - 1}, ["labels below the first"]),
        ({"dets": DETS, "classes": LABELS}, ["mmdeploy: expected outputs dets, labels, found dets, classes"]),
    ],
)
def test_a_file_that_none_fits_is_refused_with_what_each_failed_on(
    write_onnx: WriteOnnx, outputs: dict[str, NDArray[np.float32]], messages: list[str]
) -> None:
    path = write_onnx(outputs)
    with pytest.raises(ValueError, match=r"expected a decoder that fits .*, found none; pass a YAML file") as failure:
        choose_decoder(OnnxFile(path, threads=1), "auto")
    for message in [*messages, "nanodet: ", "yolox_decoded: ", "mmdeploy: ", "images [1, 3, 64, 64] tensor(float) ->"]:
        assert message in str(failure.value)


def test_several_that_fit_are_refused(write_onnx: WriteOnnx, monkeypatch: pytest.MonkeyPatch) -> None:
    same = {name: read_decoder("yolox") for name in ("yolox", "mine")}
    monkeypatch.setattr("ofa_det.teachers.probing.shipped_decoders", lambda: same)
    with pytest.raises(ValueError, match=r"expected one decoder to fit .*, found yolox, mine; pass one as --decoder"):
        choose_decoder(OnnxFile(write_onnx({"output": yolox_rows()}), threads=1), "auto")


def test_a_decoder_of_the_users_own(write_onnx: WriteOnnx, tmp_path: Path) -> None:
    text = to_yaml(read_decoder("boxes_scores_labels")).replace("first_label: 1", "first_label: 0")
    (tmp_path / "mine.yaml").write_text(text)
    file = OnnxFile(write_onnx({"boxes": BOXES, "scores": SCORES, "labels": LABELS - 1}), threads=1)
    assert choose_decoder(file, str(tmp_path / "mine.yaml")).decoder.list.first_label == 0
    (tmp_path / "mine.yaml").write_text(text.replace("unit: pixels", "unit: miles"))
    with pytest.raises(ValueError, match=r"mine\.yaml: expected one of 'pixels', 'fractions' at list\.unit"):
        choose_decoder(file, str(tmp_path / "mine.yaml"))


def test_sides_that_are_free_need_a_size_for_a_grid(write_onnx: WriteOnnx, tmp_path: Path) -> None:
    file = OnnxFile(write_onnx({"output": yolox_rows()}, shape=(3, "height", "width")), threads=1)
    with pytest.raises(ValueError, match="expected a size, since the file takes images of any"):
        choose_decoder(file, "yolox")
    (tmp_path / "mine.yaml").write_text(to_yaml(read_decoder("yolox")).replace("size: null", "size: [64, 64]"))
    assert choose_decoder(file, str(tmp_path / "mine.yaml")).num_classes == CLASSES


def test_other_inputs_are_refused(write_onnx: WriteOnnx, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    rows = {"output": yolox_rows()}
    for shape, kind, message in (
        ((64, 64, 3), onnx.TensorProto.FLOAT, "3 channels in nchw"),
        ((3, 64, 64), onnx.TensorProto.UINT8, "expected a float input"),
    ):
        file = OnnxFile(write_onnx(rows, shape=shape, dtype=kind), threads=1)
        with pytest.raises(ValueError, match=message):
            choose_decoder(file, "yolox" if kind == onnx.TensorProto.FLOAT else "nanodet")
    for options in ({"shape": (64, 64), "batch": None}, {"dtype": onnx.TensorProto.INT32}):
        with pytest.raises(ValueError, match="expected one input of images"):
            OnnxFile(write_onnx(rows, **options), threads=1)
    with pytest.raises(FileNotFoundError, match="found nothing at"):
        OnnxFile(tmp_path / "none.onnx", threads=1)
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"expected an .onnx file that loads"):
        OnnxFile(tmp_path / "broken.onnx", threads=1)
