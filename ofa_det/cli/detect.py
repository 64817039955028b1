"""Detects objects in one image and draws them."""

from __future__ import annotations

from dataclasses import dataclass

from ofa_det.cli.command import command
from ofa_det.data.images import read_image, stretch
from ofa_det.evaluation.pictures import draw_detections, write_picture
from ofa_det.evaluation.predictors import model_categories, open_predictor


@dataclass(frozen=True, kw_only=True)
class DetectConfig:
    """Detection on one image.

    Args:
        model: run folder, .onnx file, or any .tflite detector that ends in TFLite_Detection_PostProcess.
        image: image file.
        output: picture to write, .jpg or .png.
        score_threshold: weaker detections are left out, 0 to 1.
        labels: text file with the name of class i on line i; by default labels.txt beside the model, if there is one.
        accelerator: torch device for a run folder's network, for example cpu or cuda.
    """

    model: str
    image: str
    output: str = "runs/detections.jpg"
    score_threshold: float = 0.3
    labels: str | None = None
    accelerator: str = "cpu"

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise ValueError(f"expected score_threshold in [0, 1], found {self.score_threshold}")


def run(config: DetectConfig) -> None:
    """Detects, prints one line for each detection, writes the picture."""
    predictor = open_predictor(config.model, accelerator=config.accelerator)
    categories = model_categories(config.model, labels=config.labels)
    image = read_image(config.image)
    (detections,) = predictor.predict(stretch(image, predictor.input_size)[None])
    picture = draw_detections(image, detections, categories, score_threshold=config.score_threshold)
    write_picture(config.output, picture)

    names = {category.id: category.name for category in categories}
    height, width = image.shape[:2]
    shown = detections.scores >= config.score_threshold
    print("score  x1, y1, x2, y2 in px          class")
    for box, score, category_id in zip(
        detections.boxes[shown], detections.scores[shown], detections.category_ids[shown].tolist(), strict=True
    ):
        corners = "".join(f"{value:7.0f}" for value in (box * (width, height, width, height)).tolist())
        print(f"{score:5.2f} {corners}   {names.get(category_id, category_id)}")
    print(f"{int(shown.sum())} detections, drawn in {config.output}")


main = command("detect", "Detect objects in one image and draw them.", DetectConfig, run)
