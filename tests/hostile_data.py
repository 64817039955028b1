"""Data sets and configurations made to break the commands, for `test_hostile_inputs.py`."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

HUGE = 10**30


@dataclass(frozen=True, kw_only=True)
class Room:
    """Where a row may write, the sound things that it breaks, and what ends with it."""

    folder: Path
    data_root: Path
    detector: Path
    tflite: Path
    stack: ExitStack

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def picture(self, name: str, size: tuple[int, int] = (80, 40)) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (90, 120, 30)).save(path)
        return path


Row = Callable[[Room], list[str]]


# --- COCO annotations ------------------------------------------------------------------------------------------------


def coco(
    change: Callable[[dict, Room], object] = lambda content, room: None,
    *,
    text: bytes | None = None,
    command: str = "fit-anchors",
) -> Row:
    """A data set of one image and one box, changed; `text` is the whole annotation file instead."""

    def make(room: Room) -> list[str]:
        room.picture("data/train2017/1.png")
        content = {
            "images": [{"id": 1, "file_name": "1.png", "width": 80, "height": 40}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20], "iscrowd": 0}],
            "categories": [{"id": 1, "name": "cell"}],
        }
        change(content, room)
        written = json.dumps(content).encode() if text is None else text
        room.write("data/annotations/instances_train2017.json", written)
        return [command, "--data.root", str(room.folder / "data"), "--output", str(room.folder / "converted")]

    return make


def field(section: str, **values: object) -> Row:
    return coco(lambda content, room: content[section][0].update(values))


def link(name: str, target: str, file_name: str) -> Row:
    """A link in the image folder; `target` is relative to the room."""

    def change(content: dict, room: Room) -> None:
        room.picture("outside/secret.png")
        (room.folder / "data/train2017" / name).symlink_to(room.folder / target)
        content["images"][0]["file_name"] = file_name

    return coco(change)


def pipe(content: dict, room: Room) -> None:
    os.mkfifo(room.folder / "data/train2017/pipe.png")
    content["images"][0]["file_name"] = "pipe.png"


def bomb_png(side: int = 60_000) -> bytes:
    """A PNG whose header states `side` squared pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def bomb_image(content: dict, room: Room) -> None:
    room.write("data/train2017/1.png", bomb_png())


POLYGON_BOMB = b'{"annotations": [{"segmentation": [' + b"[1]  " * 5000 + b"x]}]}"


# --- other formats ---------------------------------------------------------------------------------------------------

LAUGHS_XML = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lollollol">'
    + "".join(f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><annotation><object><name>&i;</name></object></annotation>"
)
EXTERNAL_XML = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    "<annotation><object><name>&x;</name></object></annotation>"
)
BOX_XML = (
    "<annotation><filename>1.png</filename><size><width>{size}</width><height>{size}</height></size><object>"
    "<name>cell</name><bndbox><xmin>{low}</xmin><ymin>{low}</ymin><xmax>{high}</xmax><ymax>{high}</ymax></bndbox>"
    "</object></annotation>"
)
LAUGHS_YAML = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20))
CSV_HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def converted(*more: str, **files: bytes | str) -> Row:
    """A folder of one picture and these files, whose names have `__` for a slash and end in `_suffix`."""

    def make(room: Room) -> list[str]:
        room.picture("source/1.png")
        room.picture("source/images/train/2.png")
        for name, content in files.items():
            stem, _, suffix = name.rpartition("_")
            room.write(f"source/{stem.replace('__', '/')}.{suffix}", content)
        return ["convert", str(room.folder / "source"), "--output", str(room.folder / "converted"), *more]

    return make


def yolo(names: str, label: str = "0 0.5 0.5 0.2 0.2\n", **more: str) -> Row:
    return converted(data_yaml=names, labels__train__2_txt=label, **more)


# --- configurations --------------------------------------------------------------------------------------------------


def config(text: str, option: str = "--config") -> Row:
    def make(room: Room) -> list[str]:
        return ["fit-anchors", "--data.root", str(room.data_root), option, str(room.write("hostile.yaml", text))]

    return make


# --- the table -------------------------------------------------------------------------------------------------------

DATA_ROWS: dict[str, tuple[Row, str]] = {
    "file_name that climbs": (field("images", file_name="../1.png"), "which leads out of it"),
    "file_name that climbs later": (field("images", file_name="a/../../1.png"), "which leads out of it"),
    "file_name that climbs on Windows": (field("images", file_name="..\\1.png"), "which leads out of it"),
    "absolute file_name": (field("images", file_name="/etc/hostname"), "found the absolute path"),
    "absolute file_name on Windows": (field("images", file_name="C:\\1.png"), "found the absolute path"),
    "file_name with a null byte": (field("images", file_name="1.png\0"), "which no file can have"),
    "file_name of half a character": (field("images", file_name="\ud800.png"), "which no file can have"),
    "image that is not there": (field("images", file_name="2.png"), "1 of 1 missing, the first 2.png; add them"),
    "link that leads out": (
        link("l.png", "outside/secret.png", "l.png"),
        "1 links out of it, the first l.png",
    ),
    "folder link that leads out": (link("l", "outside", "l/secret.png"), "links out of it"),
    "link to a device": (link("l.png", "../../../../../../../dev/zero", "l.png"), "links out of it"),
    "pipe as image (warned)": (coco(pipe), "expected readable images"),
    "stated size of 10^12 pixels": (field("images", width=10**6, height=10**6), "found 1000000 x 1000000"),
    "stated size of 30 GB": (field("images", width=100_000, height=100_000), "expected images of up to"),
    "stated size of 1 x 100,000": (field("images", width=1, height=100_000), "sides of up to 1 : 1000"),
    "stated size of 10^400": (field("images", width=10**400), "1 to 100000 px"),
    "stated size that is no number": (field("images", width=float("nan")), "found NaN x 40"),
    "category id 10^30": (field("categories", id=HUGE), "expected 'id' of up to 64 bits in categories[0]"),
    "image id 10^30": (field("images", id=-HUGE), "expected 'id' of up to 64 bits in images[0]"),
    "category id that is true": (field("categories", id=True), "a whole number in categories[0], found true"),
    "annotation of category 10^30 (warned)": (field("annotations", category_id=HUGE), "expected boxes to fit"),
    "category id that is no number": (
        field("annotations", category_id=float("nan")),
        "a whole number in annotations[0], found NaN",
    ),
    "category name of two lines": (field("categories", name="a\nb"), "expected a name of one line"),
    "bbox 10^400": (field("annotations", bbox=[1, 1, 10**400, 5]), "'bbox' of 64-bit numbers in annotations[0]"),
    "area 10^400": (field("annotations", area=10**400), "'area' of 64-bit numbers in annotations[0]"),
    "bbox that is no number (warned)": (field("annotations", bbox=[float("nan")] * 4), "expected boxes to fit"),
    "bbox of lists": (field("annotations", bbox=[[1], [2], [3], [4]]), "expected a 'bbox' of 4 numbers"),
    "bbox of a string": (field("annotations", bbox="1234"), "a list of four numbers"),
    "number of 5000 digits": (coco(text=b'{"images": [' + b"9" * 5000 + b"]}"), "expected JSON"),
    "JSON nested 100,000 deep": (coco(text=b"[" * 100_000), "nested too deeply"),
    "polygons to backtrack over": (coco(text=POLYGON_BOMB), "expected JSON"),
    "annotations of other bytes": (coco(text=bytes(range(128, 256))), "expected JSON"),
    "annotations of nothing": (coco(text=b""), "expected JSON"),
    "image of 3.6 * 10^9 pixels (warned)": (coco(bomb_image), "expected readable images"),
    "inspected: bbox 10^400": (
        coco(lambda content, room: content["annotations"][0].update(bbox=[10**400] * 4), command="inspect"),
        "'bbox' of 64-bit numbers",
    ),
    "inspected: nothing": (lambda room: ["inspect", str(room.folder)], "expected the folder of a COCO-format data set"),
    "VOC: billion laughs": (converted(**{"1_xml": LAUGHS_XML}), "a document type declaration"),
    "VOC: external entity": (converted(**{"1_xml": EXTERNAL_XML}), "a document type declaration"),
    "VOC: nested 100,000 deep": (converted(**{"1_xml": "<a>" * 100_000}), "no VOC XML"),
    "VOC: cut": (converted(**{"1_xml": BOX_XML[:100]}), "no VOC XML"),
    "VOC: encoding that is none": (converted(**{"1_xml": '<?xml version="1.0" encoding="x-no"?><a/>'}), "no VOC XML"),
    "VOC: size 10^30, corners without end": (
        converted(**{"1_xml": BOX_XML.format(size=HUGE, low="-1e999", high="1e999")}),
        "1 degenerate boxes skipped",
    ),
    "VOC: file name that climbs": (
        converted(other_xml=BOX_XML.format(size=8, low=1, high=9).replace("1.png", "../../etc/passwd")),
        "annotations without image left out",
    ),
    "YOLO: billion laughs": (yolo(f"{LAUGHS_YAML}names: *a19\n"), "aliases that stand for more than"),
    "YOLO: folder that leads out": (
        yolo("names: [a]\ntrain: ../outside\n", **{"../outside/x_txt": ""}),
        "leads out of it",
    ),
    "YOLO: absolute folder": (yolo("names: [a]\npath: /\ntrain: etc\n"), "leads out of it"),
    "YOLO: class 10^30": (yolo(f"names: {{{HUGE}: a}}\n"), "expected classes of 0 to 99999"),
    "YOLO: label of class 10^30": (yolo("names: [a]\n", f"{HUGE} 0.5 0.5 0.1 0.1\n"), "1 lines that are no labels"),
    "YOLO: label that is no number": (yolo("names: [a]\n", "0 0.5 0.5 1e999 0.1\n0 1 1 1 1\n"), "expected Pascal VOC"),
    "YOLO: names of names": (yolo("names: [[a], {b: c}]\n"), "expected the name of class 0"),
    "CSV: cell of 1 MB": (converted(t_csv=f"{CSV_HEADER}{'x' * 10**6},1,1,a,0,0,1,1\n"), "expected a CSV table"),
    "CSV: no numbers": (converted(t_csv=f"{CSV_HEADER}1.png,nan,inf,a,nan,0,1e999,1\n"), "1 degenerate boxes skipped"),
    "CSV: other bytes": (converted(t_csv=CSV_HEADER.encode() + b"1.png,8,8,\xff\xfe,1,1,2,2\n"), "expected UTF-8 text"),
    "COCO to YOLO: file_name that climbs": (
        converted(
            a_json='{"images": [{"id": 1, "file_name": "../1.png", "width": 9, "height": 9}], "annotations": [], '
            '"categories": [{"id": 1, "name": "a"}]}'
        ),
        "which leads out of it",
    ),
    "config: billion laughs": (config(LAUGHS_YAML), "aliases that stand for more than"),
    "config: a list that holds itself": (config("data: &a [*a]\n"), "aliases that stand for more than"),
    "config: nested 100,000 deep": (config("[" * 100_000), "nested too deeply"),
    "config: code": (
        config("data: !!python/object/apply:os.system [exit]\n"),
        "the tag 'tag:yaml.org,2002:python/object/apply:os.system', which stands for nothing here",
    ),
    "config: a value that is not its tag's": (config("seed: !!int ''\n"), "expected YAML"),
    "config: other bytes": (config("\0\1\2"), "expected YAML"),
    "space: billion laughs": (config(LAUGHS_YAML, "--space"), "aliases that stand for more than"),
}
