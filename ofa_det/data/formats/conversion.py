"""One data set in, one out: detect, read, divide, write."""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from tqdm import tqdm

from ofa_det.arch.classes import Category
from ofa_det.artefacts.files import told_how_to_mend
from ofa_det.artefacts.records import write_record
from ofa_det.data.formats.layout import Format, detect_format, read_source
from ofa_det.data.formats.source import SPLITS, Source, SourceImage, Split
from ofa_det.data.formats.splitting import stratified
from ofa_det.data.formats.writing import FilePlacer, Placed, write_coco, write_yolo
from ofa_det.data.problems import Problem, Problems

logger = logging.getLogger(__name__)

CONVERSION_FILE = "conversion.json"
DEFAULT_VAL_FRACTION = 0.2


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Conversion of a data set.

    Args:
        source: folder of the data set as it is.
        format: of it; auto looks for voc (XML files), yolo (label files with data.yaml or classes.txt), csv (columns
            filename,width,height,class,xmin,ymin,xmax,ymax) and coco (annotations/instances_*.json, or Roboflow's
            _annotations.coco.json).
        to: coco, the layout that every other command reads, or yolo.
        output: folder to write; it must be empty or not there.
        val_fraction: share of the images for validation, above 0 and below 1, each class in the same proportion; by
            default the source's own division, and 0.2 where it has none.
        seed: of a division by val_fraction.
        names: of yolo, a data.yaml or a text file with one class name a line; by default one in the source.
        ignore_difficult: of voc, objects marked difficult become ignored regions, neither to be found nor background,
            as in VOC's own evaluation; false makes them objects.
        copy_images: copy the image files; false links them (hard links), which takes no space, and copies only where
            the file system cannot.
    """

    source: str
    format: Literal["auto", "voc", "yolo", "csv", "coco"] = "auto"
    to: Literal["coco", "yolo"] = "coco"
    output: str = "runs/data"
    val_fraction: float | None = None
    seed: int = 0
    names: str | None = None
    ignore_difficult: bool = True
    copy_images: bool = False

    def __post_init__(self) -> None:
        if self.val_fraction is not None and not 0 < self.val_fraction < 1:
            raise ValueError(f"expected 0 < val_fraction < 1, found {self.val_fraction}")
        if self.seed < 0:
            raise ValueError(f"expected seed >= 0, found {self.seed}")


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    """What is in one split; `classes` are objects by name, ignored regions left out."""

    images: int
    images_without_objects: int
    objects: int
    ignored: int
    classes: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """`conversion.json`.

    Args:
        source, format, to: what was converted.
        divided: "source" if the source's own division was kept, else by "val_fraction".
        val_fraction, seed: of the latter.
        splits: what is in each.
        linked_images, copied_images: how the files were placed.
        problems: what was left out or changed, by kind.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    source: str
    format: Format
    to: Literal["coco", "yolo"]
    divided: Literal["source", "val_fraction"]
    val_fraction: float | None
    seed: int
    splits: Mapping[str, SplitCounts]
    linked_images: int
    copied_images: int
    problems: tuple[Problem, ...]


def convert(config: ConvertConfig, *, progress: bool = True) -> Conversion:
    """Converts a data set; the output is whole or not there.

    What had to be left out or changed is logged by kind, and stands in `conversion.json`.

    Args:
        config: what to convert.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no known format, nothing in it that can be used, or an output that is not empty.
    """
    root, output = Path(config.source), Path(config.output)
    if not root.is_dir():
        raise FileNotFoundError(f"expected the folder of a data set, found nothing at {root}; check the path")
    _check_output(root, output)
    problems = Problems(root.name or str(root))
    found_format = detect_format(root) if config.format == "auto" else config.format
    source = read_source(root, found_format, problems, names=config.names, ignore_difficult=config.ignore_difficult)
    placed, divided = _divided(source, config, problems)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    with told_how_to_mend(output):
        temporary.mkdir(parents=True)
    try:
        with (
            told_how_to_mend(output),
            tqdm(total=len(source.images), desc="images", leave=False, disable=not progress) as bar,
        ):
            place = FilePlacer(root, placed, copy=config.copy_images, done=bar.update)
            if config.to == "coco":
                write_coco(temporary, placed, source.categories, place)
            else:
                write_yolo(temporary, placed, source.categories, place, problems)
        record = Conversion(
            source=config.source,
            format=found_format,
            to=config.to,
            divided=divided,
            val_fraction=None if divided == "source" else (config.val_fraction or DEFAULT_VAL_FRACTION),
            seed=config.seed,
            splits={split: _counts(images, source.categories) for split, images in placed.items()},
            linked_images=place.linked,
            copied_images=place.copied,
            problems=problems.found(),
        )
        write_record(temporary / CONVERSION_FILE, record)
        temporary.replace(output)  # An empty folder gives way to it.
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    problems.warn()
    return record


def _check_output(root: Path, output: Path) -> None:
    if output.is_dir() and any(output.iterdir()):
        raise ValueError(f"expected an empty folder or none at {output}, found files in it; choose another --output")
    if output.exists() and not output.is_dir():
        raise ValueError(f"expected an empty folder or none at {output}, found a file; choose another --output")
    if output.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"expected an output outside of {root}, found {output}; choose another --output")


def _divided(
    source: Source, config: ConvertConfig, problems: Problems
) -> tuple[Placed, Literal["source", "val_fraction"]]:
    """The images of each split, by the source's own division where it has one and no other is asked for."""
    images = source.images
    splits = {image.split for image in images}
    if "val" not in splits and "test" in splits:
        images = tuple(replace(image, split="val") if image.split == "test" else image for image in images)
    if config.val_fraction is None and {"train", "val"} <= {image.split for image in images}:
        for image in images:
            if image.split is None:
                problems.add("images of no split taken for training", image.path.name)
        of_split = {split: [i for i in images if (i.split or "train") == split] for split in SPLITS}
        return {split: found for split, found in of_split.items() if found}, "source"
    if len(images) < 2:
        raise ValueError(f"expected two images or more to divide in {config.source}, found {len(images)}")
    classes = [{box.category_id for box in image.boxes} for image in images]
    chosen = stratified(classes, config.val_fraction or DEFAULT_VAL_FRACTION, seed=config.seed)
    parts: dict[Split, Sequence[SourceImage]] = {
        "train": [image for image, is_val in zip(images, chosen, strict=True) if not is_val],
        "val": [image for image, is_val in zip(images, chosen, strict=True) if is_val],
    }
    return parts, "val_fraction"


def _counts(images: Sequence[SourceImage], categories: Sequence[Category]) -> SplitCounts:
    boxes = [box for image in images for box in image.boxes]
    objects = Counter(box.category_id for box in boxes if not box.ignored)
    return SplitCounts(
        images=len(images),
        images_without_objects=sum(all(box.ignored for box in image.boxes) for image in images),
        objects=objects.total(),
        ignored=sum(box.ignored for box in boxes),
        classes={category.name: objects[category.id] for category in categories},
    )
