"""How an ONNX detector takes images and what its outputs mean: small YAML files, in `configs/teachers/` or a user's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ofa_det.artefacts.configs import configs_folder, find_config
from ofa_det.artefacts.records import from_plain, read_yaml

AUTO = "auto"
"""In place of a decoder: the one of `configs/teachers/` that fits."""

ROOM = "teachers"


@dataclass(frozen=True, kw_only=True)
class InputFormat:
    """How an image becomes the network's input, (x - mean) / std of each byte x.

    Args:
        channels: order of the colours.
        layout: of the tensor.
        mean, std: in the order of `channels`, of bytes 0 to 255.
        resize: letterbox keeps the image's shape and pads; stretch does not.
        place: where a letterbox puts the image.
        padding: byte that a letterbox fills the rest with; None takes the mean, which becomes 0.
        size: (height, width) for a file that takes any, in pixels; None gives it each image at its own size.
    """

    channels: Literal["rgb", "bgr"]
    layout: Literal["nchw", "nhwc"] = "nchw"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    resize: Literal["letterbox", "stretch"]
    place: Literal["top_left", "centre"] = "top_left"
    padding: int | None = 114
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if min(self.std) <= 0:
            raise ValueError(f"expected std above 0, found {list(self.std)}")
        if self.padding is not None and not 0 <= self.padding <= 255:
            raise ValueError(f"expected a padding of 0 to 255, found {self.padding}")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"expected a size of at least 1 px, found {list(self.size)}")


@dataclass(frozen=True, kw_only=True)
class GridOutput:
    """One output (batch, cells, columns): the cells of all levels, each level row by row.

    Args:
        strides: of the levels, in their order, in pixels.
        columns: of a cell, in their order: box, objectness (which multiplies the classes), classes.
        box: what the box columns are: `offsets` tx, ty, tw, th from the cell (YOLOX), `centre` x, y, w, h in pixels,
            `distances` of left, top, right and bottom from the cell's point in strides, or `bins`, distributions of
            these distances (Generalized Focal Loss, section 3.2).
        bins: of each distance, for `bins`; distance k is that of bin k.
        cell_point: where in its cell a cell's point lies: 0 in the corner, 0.5 in the middle.
        scores: probabilities, or logits that a sigmoid makes such.
        cells_last: whether the output is (batch, columns, cells).
    """

    strides: tuple[int, ...]
    columns: tuple[Literal["box", "objectness", "classes"], ...]
    box: Literal["offsets", "centre", "distances", "bins"]
    bins: int = 0
    cell_point: float = 0.0
    scores: Literal["probabilities", "logits"] = "probabilities"
    cells_last: bool = False

    def __post_init__(self) -> None:
        if not self.strides or min(self.strides) < 1:
            raise ValueError(f"expected strides of at least 1, found {list(self.strides)}")
        if sorted(self.columns) not in (["box", "classes"], ["box", "classes", "objectness"]):
            raise ValueError(f"expected columns of box, classes and perhaps objectness, found {list(self.columns)}")
        if (self.box == "bins") != (self.bins >= 2):
            raise ValueError(f"expected bins >= 2 for box: bins, and none for others, found {self.bins} for {self.box}")

    @property
    def box_columns(self) -> int:
        """Of a cell."""
        return 4 * max(1, self.bins)


@dataclass(frozen=True, kw_only=True)
class ListOutput:
    """Outputs that list boxes.

    Args:
        boxes: name of the output (batch, boxes, 4), or without `scores` (batch, boxes, 5), whose last column they are.
        scores: name of the output (batch, boxes), or without `labels` (batch, boxes, classes).
        labels: name of the output (batch, boxes) of class numbers.
        first_label: the number of the first class.
        corners: order of the box columns; centre is x, y, w, h.
        unit: of the boxes: pixels of the input, or fractions of its sides.
    """

    boxes: str
    scores: str | None = None
    labels: str | None = None
    first_label: int = 0
    corners: Literal["xyxy", "yxyx", "centre"] = "xyxy"
    unit: Literal["pixels", "fractions"] = "pixels"

    def __post_init__(self) -> None:
        if self.scores is None and self.labels is None:
            raise ValueError("expected an output of scores or of labels, found neither")

    @property
    def names(self) -> tuple[str, ...]:
        """Of the outputs."""
        return tuple(name for name in (self.boxes, self.scores, self.labels) if name is not None)


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A kind of ONNX detector.

    Args:
        input: how it takes images.
        grid: what its outputs mean, if they are a grid.
        list: what they mean, if they are lists of boxes.
        auto: whether `--decoder auto` tries it: off where a file does not tell it from another.
    """

    input: InputFormat
    grid: GridOutput | None = None
    list: ListOutput | None = None
    auto: bool = True

    def __post_init__(self) -> None:
        if (self.grid is None) == (self.list is None):
            raise ValueError("expected either grid or list, found both or none")


def read_decoder(name_or_path: str) -> Decoder:
    """A decoder from a YAML file, or one that the package carries, by its name.

    Raises:
        FileNotFoundError: there is none; the message lists the names.
        ValueError: not a decoder.
    """
    path = find_config(ROOM, name_or_path)
    return from_plain(Decoder, read_yaml(path), where=str(path))


def shipped_decoders() -> dict[str, Decoder]:
    """Those that `--decoder auto` tries, by name."""
    names = sorted(path.stem for path in (configs_folder() / ROOM).glob("*.yaml"))
    return {name: decoder for name in names if (decoder := read_decoder(name)).auto}
