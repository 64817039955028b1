"""The 80 categories of COCO detection; their ids, up to 90, have gaps."""

from __future__ import annotations

from ofa_det.arch.classes import Category

# fmt: off
_NAMES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator",
    "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)
# fmt: on
_UNUSED_IDS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
_IDS = tuple(category_id for category_id in range(1, 91) if category_id not in _UNUSED_IDS)

COCO_CATEGORIES = tuple(Category(id=i, name=name) for i, name in zip(_IDS, _NAMES, strict=True))
"""By ascending id, which is also the class order of detectors trained on COCO's 80 classes."""


def coco_classes(count: int) -> tuple[Category | None, ...] | None:
    """The category of each class of a detector that was trained on COCO, None for a class that is not used.

    Args:
        count: of its classes: 80, by ascending id; 90, class k being id k + 1; 91, class k being id k, after a
            background class.

    Returns:
        None if the number is not one of these.
    """
    by_id = {category.id: category for category in COCO_CATEGORIES}
    if count == len(COCO_CATEGORIES):
        return COCO_CATEGORIES
    if count in (90, 91):
        return tuple(by_id.get(index + 91 - count) for index in range(count))
    return None
