"""Labels images with a larger detector, in COCO layout."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ofa_det.cli.command import command
from ofa_det.data.splits import DataConfig
from ofa_det.teachers.labels import label_dataset
from ofa_det.teachers.yolox import YoloxTeacher


@dataclass(frozen=True, kw_only=True)
class LabelWithTeacherConfig:
    """What to label.

    Args:
        teacher: YOLOX detector trained on COCO, as an ONNX file without box decoding.
        data: the data set whose training images are labelled; its own boxes are not used.
        output: folder of the labelled data set; outside the original one.
        score_threshold: boxes of a lower score are left out, 0 to 1.
        threads: CPU threads; 0 takes all cores.
        copy_images: copy the images; otherwise the labelled data set links to the original folders.
        resume: continue a labelling that was interrupted.
    """

    teacher: str
    data: DataConfig
    output: str = "runs/teacher_labels"
    score_threshold: float = 0.3
    threads: int = 0
    copy_images: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(f"expected 0 <= score_threshold <= 1, found {self.score_threshold}")
        if self.threads < 0:
            raise ValueError(f"expected threads >= 0, found {self.threads}")


def run(config: LabelWithTeacherConfig) -> None:
    """Labels the training images."""
    teacher = YoloxTeacher(config.teacher, threads=config.threads)
    digest = hashlib.sha256(Path(config.teacher).read_bytes()).hexdigest()
    counts = label_dataset(
        teacher,
        config.data,
        Path(config.output),
        identity={"teacher": Path(config.teacher).name, "teacher_sha256": digest},
        score_threshold=config.score_threshold,
        copy_images=config.copy_images,
        resume=config.resume,
        progress=True,
    )
    print(f"{counts['boxes']} boxes on {counts['images']} images, {counts['unreadable']} images unreadable")
    print(f"written to {config.output}; train on it with --data.root {config.output}")


main = command("label", "Label images with a larger detector.", LabelWithTeacherConfig, run)
