"""Two engines of COCO's box metrics, a fast one and the one that it is checked against; their numbers are equal."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import hotcoco
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Engine = Literal["hotcoco", "pycocotools"]
NUM_THRESHOLDS = 10
"""IoU 0.50 .. 0.95."""

ENGINES: tuple[Engine, ...] = get_args(Engine)


@dataclass(frozen=True, kw_only=True)
class BoxMetrics:
    """What an engine gives; -1 where there is nothing to find.

    Args:
        stats: (12,), AP to ARl in the order of pycocotools.
        precision: (T, R, C), precision at IoU threshold, recall and category in ascending order of id, over all areas
            and up to 100 detections.
    """

    stats: NDArray[np.float64]
    precision: NDArray[np.float64]


def box_metrics(ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], engine: Engine) -> BoxMetrics:
    """Evaluates detections.

    Args:
        ground_truth: a COCO dictionary with images, annotations (`id` from 1, `iscrowd` and `area`) and categories.
        results: detections on its images as image_id, category_id, bbox (x, y, width, height in pixels) and score.
        engine: which of the two.

    Raises:
        ValueError: no such engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"expected engine {' or '.join(ENGINES)}, found {engine!r}")
    evaluation: Any = (_fast if engine == "hotcoco" else _reference)(ground_truth, results)
    with contextlib.redirect_stdout(io.StringIO()):  # Both print what they do.
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # (IoU thresholds, recalls, categories, areas, detection limits)
    return BoxMetrics(stats=np.array(evaluation.stats), precision=evaluation.eval["precision"][:, :, :, 0, -1])


@dataclass(frozen=True, kw_only=True)
class CategoryMatches:
    """What becomes of the detections of one category, at each of T IoU thresholds.

    Args:
        category_id: of which.
        scores: (N,), descending.
        images: (N,), positions of their images among the ground truth's in ascending order of id.
        found: (T, N), whether each is matched to an object that counts.
        ignored: (T, N), whether it counts neither way, since it lies on a crowd.
        objects: (I,), objects that count on each image.
    """

    category_id: int
    scores: NDArray[np.float64]
    images: NDArray[np.int64]
    found: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]


def category_matches(
    ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], *, most: int = 100
) -> tuple[CategoryMatches, ...]:
    """Matches detections with objects by COCO's rules, for objects of all sizes.

    Args:
        ground_truth: as of `box_metrics`.
        results: as of `box_metrics`.
        most: detections of a category on an image that count, the best.

    Returns:
        One for each category, in ascending order of id.
    """
    evaluation = _fast(ground_truth, results)
    evaluation.params.area_rng = [[0.0, 1e10]]
    evaluation.params.area_rng_lbl = ["all"]
    evaluation.params.max_dets = [most]
    evaluation.evaluate()
    by_category: dict[int, list[dict[str, Any]]] = {}
    for entry in evaluation.eval_imgs:
        if entry is not None:
            by_category.setdefault(entry["category_id"], []).append(entry)
    ids = sorted(entry["id"] for entry in ground_truth["categories"])
    return tuple(
        _category(category_id, by_category.get(rank, []), len(ground_truth["images"]))
        for rank, category_id in enumerate(ids, start=1)
    )


def _category(category_id: int, entries: Sequence[Mapping[str, Any]], num_images: int) -> CategoryMatches:
    objects = np.zeros(num_images, np.int64)
    for entry in entries:
        objects[entry["image_id"] - 1] = len(entry["gtIgnore"]) - sum(entry["gtIgnore"])
    entries = [entry for entry in entries if entry["dtScores"]]
    scores = np.array([score for entry in entries for score in entry["dtScores"]], np.float64)
    images = np.array([entry["image_id"] - 1 for entry in entries for _ in entry["dtScores"]], np.int64)
    order = np.argsort(-scores, kind="stable")
    ignored = _columns(entries, "dtIgnore")[:, order]
    return CategoryMatches(
        category_id=category_id,
        scores=scores[order],
        images=images[order],
        found=_columns(entries, "dtMatched")[:, order] & ~ignored,
        ignored=ignored,
        objects=objects,
    )


def _columns(entries: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.bool_]:
    """(T, N) of the (T, detections) of each entry."""
    parts = [np.array(entry[name], np.bool_) for entry in entries]
    return np.concatenate(parts, axis=1) if parts else np.zeros((NUM_THRESHOLDS, 0), np.bool_)


def _fast(ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> hotcoco.COCOeval:
    # Its arrays of detections are floats, in which large ids would run together: ranks stand for ids, from 1. They
    # keep the order in which images are gone through, which decides between detections of equal score.
    images = np.array(sorted(entry["id"] for entry in ground_truth["images"]), np.int64)
    categories = np.array(sorted(entry["id"] for entry in ground_truth["categories"]), np.int64)
    annotations = ground_truth["annotations"]
    truth = hotcoco.COCO.from_arrays(
        [{"id": rank, "width": 1, "height": 1} for rank in range(1, len(images) + 1)],
        [{"id": rank, "name": str(rank)} for rank in range(1, len(categories) + 1)],
        _ranks(images, [entry["image_id"] for entry in annotations]),
        _ranks(categories, [entry["category_id"] for entry in annotations]),
        _boxes(annotations),
        area=np.array([entry["area"] for entry in annotations], np.float64),
        iscrowd=np.array([int(entry["iscrowd"]) for entry in annotations], np.int64),
    )
    known = set(categories.tolist())
    results = [entry for entry in results if entry["category_id"] in known]
    columns = np.empty((len(results), 7), np.float64)
    columns[:, 0] = _ranks(images, [entry["image_id"] for entry in results])
    columns[:, 1:5] = _boxes(results)
    columns[:, 5] = [entry["score"] for entry in results]
    columns[:, 6] = _ranks(categories, [entry["category_id"] for entry in results])
    return hotcoco.COCOeval(truth, truth.load_res(columns), "bbox")


def _ranks(ids: NDArray[np.int64], wanted: Sequence[int]) -> NDArray[np.int64]:
    return np.searchsorted(ids, np.array(wanted, np.int64)) + 1


def _boxes(entries: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    boxes: ArrayLike = [entry["bbox"] for entry in entries]
    return np.array(boxes, np.float64).reshape(-1, 4)


def _reference(ground_truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> COCOeval:
    detections = [
        {**result, "id": number, "area": result["bbox"][2] * result["bbox"][3], "iscrowd": 0}
        for number, result in enumerate(results, start=1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        # pycocotools writes into annotations, so both sides are given copies.
        truth = _coco(ground_truth, [dict(annotation) for annotation in ground_truth["annotations"]])
        return COCOeval(truth, _coco(ground_truth, detections), "bbox")


def _coco(ground_truth: Mapping[str, Any], annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": ground_truth["images"],
        "categories": ground_truth["categories"],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco
