"""Which format a folder is in."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

from ofa_det.data.formats.coco import annotation_files, read_coco
from ofa_det.data.formats.csv_table import read_csv, tables_below
from ofa_det.data.formats.source import Source, files_below
from ofa_det.data.formats.voc import read_voc
from ofa_det.data.formats.yolo import label_files, read_yolo
from ofa_det.data.images import IMAGE_SUFFIXES
from ofa_det.data.problems import Problems

Format = Literal["voc", "yolo", "csv", "coco"]


def detect_format(root: Path) -> Format:
    """The format of a folder.

    Raises:
        ValueError: none of those that are known, or several.
    """
    files = files_below(root)
    found: list[Format] = []
    if annotation_files(root):
        found.append("coco")
    if any(path.suffix.lower() == ".xml" for path in files):
        found.append("voc")
    if label_files(root):
        found.append("yolo")
    if tables_below(root):
        found.append("csv")
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"expected one format in {root}, found {', '.join(found)}; choose one with --format")
    counts = Counter(path.suffix.lower() or "without suffix" for path in files).most_common(5)
    there = ", ".join(f"{count} {suffix}" for suffix, count in counts) or "no files"
    raise ValueError(
        f"expected Pascal VOC, YOLO, CSV or COCO annotations in {root}, found {there}; how each looks is told by "
        "ofa-det convert --help"
    )


def read_source(
    root: Path, found_format: Format, problems: Problems, *, names: str | None, ignore_difficult: bool
) -> Source:
    """Reads a folder in a known format.

    Args:
        root: the folder.
        found_format: its format.
        problems: where faults are counted.
        names: file with the names of the classes, of YOLO alone.
        ignore_difficult: of VOC, whether objects marked difficult become ignored regions.

    Raises:
        FileNotFoundError: no such file of names.
        ValueError: it is not in that format, or there is no image or no object in it.
    """
    if names is not None and found_format != "yolo":
        raise ValueError(
            f"expected --names with the format yolo, found it with {found_format}, which has its own names"
        )
    match found_format:
        case "voc":
            source = read_voc(root, problems, ignore_difficult=ignore_difficult)
        case "yolo":
            source = read_yolo(root, problems, names=names)
        case "csv":
            source = read_csv(root, problems)
        case "coco":
            source = read_coco(root, problems)
    if not source.images:
        raise ValueError(
            f"expected images ({', '.join(sorted(IMAGE_SUFFIXES))}) with annotations in {root}, found none that can be "
            f"used{_faults(problems)}"
        )
    if not any(image.boxes for image in source.images):
        faults = _faults(problems)
        mend = "mend these" if faults else "annotate some"
        raise ValueError(f"expected objects in {root}, found none on {len(source.images)} images{faults}; {mend}")
    return source


def _faults(problems: Problems) -> str:
    """What may be the reason, to be mended."""
    return "".join(f"; {problem.count} {problem.kind} ({problem.named})" for problem in problems.found())
