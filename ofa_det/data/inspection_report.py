"""What an inspection of a data set tells, and which of it is worth a warning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ofa_det.data.duplicates import Duplicate
from ofa_det.data.problems import Problem

TINY_PX = 8.0
"""The finest stride that our spaces have: a smaller object is less than a cell."""

SIZE_BOUNDS_PX = (TINY_PX, 32.0, 96.0)
"""Bounds of the size classes; 32 and 96 are COCO's."""

FEW_IMAGES = 50
MOST_TINY = 0.1
MOST_IMBALANCE = 20
LEAST_RECALL = 0.9
_IN_A_BUILD = "in a build, of the configurations that --recipe.supernet, .finetune and .single name"
_NAMED = 3
_MOST_CLASSES = 15
_MOST_FILES = 5


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """One part of a data set.

    Args:
        images: that can be read.
        images_without_objects: of them.
        objects: crowd and other ignored regions left out.
        ignored: those regions.
        image_sizes_px: (width, height) of the smallest, the median and the largest image, by area.
        sizes: objects by side, the root of their area, at the resolution: below 8 px, 8 to 32, 32 to 96, above.
    """

    images: int
    images_without_objects: int
    objects: int
    ignored: int
    image_sizes_px: tuple[tuple[int, int], ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ClassReport:
    """One class.

    Args:
        images, objects: by part, "train" and "val".
        tiny: objects of the training part whose side at the resolution is below 8 px.
        side_px: median side of its training objects at the resolution; None without any.
        recall: share of its training objects with an anchor above IoU 0.5 where it stands; None without any.
    """

    id: int
    name: str
    images: Mapping[str, int]
    objects: Mapping[str, int]
    tiny: int
    side_px: float | None
    recall: float | None


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """`inspection.json`.

    Args:
        root: of the data set.
        space, resolution: that sizes and anchors refer to; the resolution in pixels.
        splits: by name; "val" is missing where there is no validation part.
        classes: by ascending id.
        recall: share of all training objects with an anchor above IoU 0.5 where it stands; None without objects.
        duplicates: validation images that are training images too.
        broken: files whose pixels cannot be decoded.
        missing: files that annotations name and their folder has not, or has as a link that leads out of it.
        problems: faults of the annotations, by kind.
        warnings: what matters of all this, with its reason and what can be done.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    root: str
    space: str
    resolution: int
    splits: Mapping[str, SplitReport]
    classes: tuple[ClassReport, ...]
    recall: float | None
    duplicates: tuple[Duplicate, ...]
    broken: tuple[str, ...]
    problems: tuple[Problem, ...]
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def data_warnings(record: Inspection) -> Iterator[str]:
    """What is likely to spoil a training or its figures: what was found, why it matters, what can be done."""
    yield from _of_files(record)
    yield from _of_counts(record)
    yield from _of_sizes(record)


def _of_files(record: Inspection) -> Iterator[str]:
    if record.duplicates:
        yield (
            f"{len(record.duplicates)} of {record.splits['val'].images} validation images are training images too, so "
            "AP on them says little of new images; remove them from one part, or divide anew by scene"
        )
    if record.broken:
        yield (
            f"{len(record.broken)} files cannot be decoded, and are trained on as grey without objects; replace them "
            "or remove their entries"
        )
    if record.missing:
        yield (
            f"{len(record.missing)} files that annotations name are not in their folder, and every other command "
            "refuses the data set; add them or remove their entries"
        )
    if "val" not in record.splits:
        yield "there is no validation part, which training, search and export measure AP on; ofa-det convert divides"


def _of_counts(record: Inspection) -> Iterator[str]:
    classes = record.classes
    yield from _listed(
        classes,
        lambda entry: not entry.objects["train"],
        "without an object to train on, so that nothing can be learnt of them; annotate some or remove the category",
    )
    yield from _listed(
        classes,
        lambda entry: 0 < entry.images["train"] < FEW_IMAGES,
        f"on fewer than {FEW_IMAGES} training images, too few to show how their objects vary; add images, and start "
        "from weights that know others (--pretrained of train, which a build does by itself where they are installed)",
        lambda entry: str(entry.images["train"]),
    )
    if "val" in record.splits:
        yield from _listed(
            classes,
            lambda entry: bool(entry.objects["train"]) and not entry.objects["val"],
            "without an object in the validation part, so that AP leaves them out; divide anew with ofa-det convert",
        )
        if (images := record.splits["val"].images) < FEW_IMAGES:
            yield (
                f"there are {images} validation images; with fewer than {FEW_IMAGES} AP changes by several points with "
                "the choice of the images, so compare models with care"
            )
    counts = {entry.name: entry.objects["train"] for entry in classes if entry.objects["train"]}
    if counts and max(counts.values()) > MOST_IMBALANCE * min(counts.values()):
        most, fewest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        yield (
            f"{most!r} has {counts[most]} training objects, {fewest!r} {counts[fewest]}, more than {MOST_IMBALANCE} "
            "times fewer, and will be learnt last; draw rare classes more often (--sampling.repeat_threshold of train, "
            f"{_IN_A_BUILD})"
        )


def _of_sizes(record: Inspection) -> Iterator[str]:
    yield from _listed(
        record.classes,
        lambda entry: entry.tiny > MOST_TINY * entry.objects["train"],
        f"with more than {100 * MOST_TINY:.0f} % of the objects below {TINY_PX:g} px at {record.resolution} px, which "
        "is one cell of the finest level or less; use a higher resolution, or cut the images into tiles",
        lambda entry: f"{100 * entry.tiny / entry.objects['train']:.0f} %",
    )
    yield from _listed(
        record.classes,
        lambda entry: entry.recall is not None and entry.recall < LEAST_RECALL,
        f"with an anchor above IoU 0.5 for less than {100 * LEAST_RECALL:.0f} % of the objects; the others are learnt "
        f"from anchors that fit badly; take more of them (--anchors.count of train and inspect, {_IN_A_BUILD}), a "
        "higher resolution, or a space with a finer level",
        lambda entry: f"{100 * (entry.recall or 0):.0f} %",
    )


def _listed(
    classes: Sequence[ClassReport],
    concerns: Callable[[ClassReport], bool],
    text: str,
    figure: Callable[[ClassReport], str] | None = None,
) -> Iterator[str]:
    """One warning for all classes that it concerns, the first few named with their figure."""
    found = [entry for entry in classes if concerns(entry)]
    if found:
        named = ", ".join(f"{entry.name!r}{f' {figure(entry)}' if figure else ''}" for entry in found[:_NAMED])
        more = ", ..." if len(found) > _NAMED else ""
        yield f"{len(found)} of {len(classes)} classes ({named}{more}) {text}"


def summary(record: Inspection) -> Iterator[str]:
    """What an inspection found, for reading, a line each."""
    yield f"{record.root}, objects at {record.resolution} px"
    yield "part   images  without objects  objects  ignored   < 8 px  8 - 32  32 - 96     > 96"
    for name, part in record.splits.items():
        shares = (_percent(size, part.objects) for size in part.sizes)
        sizes = "".join(f"{share:>{width}}" for share, width in zip(shares, (9, 8, 9, 9), strict=True))
        yield f"{name:<5}{part.images:>8}{part.images_without_objects:>17}{part.objects:>9}{part.ignored:>9}{sizes}"
    for name, part in record.splits.items():
        smallest, median, largest = ("x".join(map(str, size)) for size in part.image_sizes_px)
        yield f"{name} images: {smallest} px at least, {median} median, {largest} at most"
    yield from _class_table(record)
    yield from _named("missing files", record.missing)
    yield from _named("broken files", record.broken)
    looks = {"file": "", "picture": " (looks the same)"}
    pairs = [f"{pair.second} is {pair.first}{looks[pair.kind]}" for pair in record.duplicates]
    yield from _named("validation images that are training images", pairs)
    yield from (str(problem) for problem in record.problems)
    yield from (f"WARNING: {warning}" for warning in record.warnings)
    if not record.warnings:
        yield "no warnings"


def _named(what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        more = ", ..." if len(names) > _MOST_FILES else ""
        yield f"{len(names)} {what}: {', '.join(names[:_MOST_FILES])}{more}"


def _class_table(record: Inspection) -> Iterator[str]:
    """The classes, the commonest first; reached are objects with an anchor above IoU 0.5."""
    ordered = sorted(record.classes, key=lambda entry: -entry.objects["train"])
    shown = ordered[:_MOST_CLASSES]
    width = max(len("class"), *(len(entry.name) for entry in shown))
    parts = list(record.splits)
    counts = "".join(f"{f'{part} images':>14}{'objects':>9}" for part in parts)
    yield f"{'class':{width}}{counts}  median px   < 8 px   reached by anchors"
    for entry in shown:
        counts = "".join(f"{entry.images[part]:>14}{entry.objects[part]:>9}" for part in parts)
        side = "-" if entry.side_px is None else f"{entry.side_px:.0f}"
        recall = "-" if entry.recall is None else f"{100 * entry.recall:.1f} %"
        tiny = _percent(entry.tiny, entry.objects["train"])
        yield f"{entry.name:{width}}{counts}{side:>11}{tiny:>9}{recall:>21}"
    if len(ordered) > len(shown):
        yield f"{len(ordered) - len(shown)} more classes"


def _percent(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "-"
