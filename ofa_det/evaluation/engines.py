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
