"""What is in a data set, and what of it will make a training fail or its figures mislead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ofa_det.arch.levels import AnchorRecall
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.configs import read_space
from ofa_det.data.anchors import AnchorConfig, anchor_recall, anchor_sizes
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.duplicates import Duplicate, ImagePrint, duplicates, image_print
from ofa_det.data.inspection_report import (
    SIZE_BOUNDS_PX,
    TINY_PX,
    ClassReport,
    Inspection,
    SplitReport,
    data_warnings,
)
from ofa_det.data.problems import Problem, Problems
from ofa_det.data.splits import DataConfig

_DECODED_SIDE_PX = 64


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """Inspection of a data set.

    Args:
        data: the data set, in COCO layout.
        space: search space whose levels the anchors are on, a YAML file or the name of one in configs/spaces.
        resolution: at which sizes of objects are judged, in pixels; by default the greatest of the space.
        anchors: that objects are to be matched with, as train takes them.
        output: folder for inspection.json and pictures.jpg.
        pictures: images drawn with their boxes.
        seed: of where a fit places the boxes.
    """

    data: DataConfig
    space: str = "efficientnet_lite0"
    resolution: int | None = None
    anchors: AnchorConfig = field(default_factory=lambda: AnchorConfig(count=4))
    output: str = "runs/inspect"
    pictures: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resolution is not None and self.resolution < 32:
            raise ValueError(f"expected resolution >= 32, found {self.resolution}")
        if self.pictures < 1:
            raise ValueError(f"expected pictures >= 1, found {self.pictures}")


@dataclass(frozen=True, kw_only=True)
class Examined:
    """The record, and the parts it is of, by name."""

    record: Inspection
    datasets: Mapping[str, CocoDataset]


def examine(config: InspectConfig, *, progress: bool = True) -> Examined:
    """Reads all of a data set, pixels too, and writes nothing.

    Args:
        config: which.
        progress: show a progress bar.

    Raises:
        FileNotFoundError: no data set, or no such space or anchors.
        ValueError: malformed annotations, no image that can be read, parts of different categories, or anchors that are
            not for the space.
    """
    space = read_space(config.space)
    resolution = config.resolution or space.resolutions[-1]
    space = replace(space, resolutions=(resolution,))
    datasets, problems, missing = _open(config.data)
    prints, broken = _prints(datasets, progress=progress)
    recall = _recall(datasets["train"], space, config)
    record = Inspection(
        root=config.data.root,
        space=config.space,
        resolution=resolution,
        splits={name: _split_report(dataset, resolution) for name, dataset in datasets.items()},
        classes=tuple(_class_reports(datasets, resolution, recall)),
        recall=None if recall is None else round(recall.all_boxes.fraction, 4),
        duplicates=_duplicates(datasets, prints),
        broken=tuple(broken),
        missing=tuple(missing),
        problems=tuple(problems),
    )
    return Examined(record=replace(record, warnings=tuple(data_warnings(record))), datasets=datasets)


def _open(data: DataConfig) -> tuple[dict[str, CocoDataset], list[Problem], list[str]]:
    """The parts that there are, the faults of their annotations, and the images that are not in their folders."""
    root = Path(data.root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"expected the folder of a COCO-format data set, found nothing at {root}; check the path, or bring other "
            "formats into this layout with ofa-det convert"
        )
    files = {"train": (data.train_annotations, data.train_images)}
    if (root / data.val_annotations).is_file():
        files["val"] = data.val_annotations, data.val_images
    datasets: dict[str, CocoDataset] = {}
    found: list[Problem] = []
    missing: list[str] = []
    for name, (file, images) in files.items():
        problems = Problems(Path(file).name)
        absent: list[str] = []
        dataset = CocoDataset.open(root / file, root / images, problems=problems, missing=absent)
        missing += [str(root / images / image) for image in absent]
        datasets[name] = dataset if data.limit is None else dataset.subset(np.arange(min(data.limit, len(dataset))))
        found += problems.found()
    if datasets["train"].categories != datasets[list(datasets)[-1]].categories:
        raise ValueError(
            f"expected the categories of {data.train_annotations} in {data.val_annotations}, found others; use the same"
        )
    return datasets, found, missing


def _prints(
    datasets: Mapping[str, CocoDataset], *, progress: bool
) -> tuple[dict[str, dict[int, ImagePrint]], list[str]]:
    """The print of every image by part and position, and the files that cannot be decoded."""
    found: dict[str, dict[int, ImagePrint]] = {name: {} for name in datasets}
    broken = []
    places = [(name, index) for name, dataset in datasets.items() for index in range(len(dataset))]
    for name, index in tqdm(places, desc="images", leave=False, disable=not progress):
        dataset = datasets[name]
        try:
            image = dataset.image(index, min_side=_DECODED_SIDE_PX)
            found[name][index] = image_print(dataset.path(index), image)
        except (ValueError, OSError):
            broken.append(str(dataset.path(index)))
    return found, broken


def _duplicates(
    datasets: Mapping[str, CocoDataset], prints: Mapping[str, Mapping[int, ImagePrint]]
) -> tuple[Duplicate, ...]:
    if "val" not in datasets:
        return ()
    train, val = prints["train"], prints["val"]
    positions, val_positions = list(train), list(val)
    return tuple(
        Duplicate(
            first=datasets["train"].file_name(positions[first]),
            second=datasets["val"].file_name(val_positions[second]),
            kind="file" if same else "picture",
        )
        for first, second, same in duplicates(list(train.values()), list(val.values()))
    )


def _recall(dataset: CocoDataset, space: SearchSpace, config: InspectConfig) -> AnchorRecall | None:
    """Of the anchors that a training takes; None without objects."""
    if not len(dataset.objects()):
        return None
    return anchor_recall(dataset, space, anchor_sizes(config.anchors, dataset, space, seed=config.seed))


def _split_report(dataset: CocoDataset, resolution: int) -> SplitReport:
    objects = dataset.objects()
    by_area = dataset.image_sizes[np.argsort(dataset.image_sizes.prod(axis=1), kind="stable")][:, ::-1]
    shown = [0, len(by_area) // 2, -1]
    sizes = np.bincount(np.digitize(_sides_px(objects.boxes, resolution), SIZE_BOUNDS_PX), minlength=4)
    total = sum(len(dataset.annotations(index)) for index in range(len(dataset)))
    return SplitReport(
        images=len(dataset),
        images_without_objects=len(dataset) - len(np.unique(objects.images)),
        objects=len(objects),
        ignored=total - len(objects),
        image_sizes_px=tuple((int(width), int(height)) for width, height in by_area[shown]),
        sizes=tuple(sizes.tolist()),
    )


def _class_reports(
    datasets: Mapping[str, CocoDataset], resolution: int, recall: AnchorRecall | None
) -> Iterator[ClassReport]:
    parts = {name: dataset.objects() for name, dataset in datasets.items()}
    sides = _sides_px(parts["train"].boxes, resolution)
    for label, category in enumerate(datasets["train"].categories):
        own = sides[parts["train"].labels == label]
        yield ClassReport(
            id=category.id,
            name=category.name,
            images={name: len(np.unique(part.images[part.labels == label])) for name, part in parts.items()},
            objects={name: int((part.labels == label).sum()) for name, part in parts.items()},
            tiny=int((own < TINY_PX).sum()),
            side_px=round(float(np.median(own)), 1) if len(own) else None,
            recall=round(recall.classes[label].fraction, 4) if recall is not None and len(own) else None,
        )


def _sides_px(boxes: NDArray[np.float32], resolution: int) -> NDArray[np.float64]:
    """(M,) roots of the areas of boxes (M, 4), as the network sees them: stretched to a square."""
    extents = boxes[:, 2:].astype(np.float64) - boxes[:, :2]
    return np.asarray(np.sqrt(extents.prod(axis=1)) * resolution)
