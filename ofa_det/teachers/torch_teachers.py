"""Detectors that torch runs, as teachers: our own run folders, and torchvision's with weights from a file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import detection, get_model, list_models

from ofa_det.arch.classes import Category
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.data.images import stretch
from ofa_det.detection.box_coder import decode
from ofa_det.detection.preprocessing import normalise
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import load_detector
from ofa_det.teachers.classes import TeacherClasses, find_classes
from ofa_det.teachers.source import TeacherSource
from ofa_det.teachers.teacher import MIN_SCORE, TeacherDetections, suppressed

logger = logging.getLogger(__name__)


class RunFolderTeacher:
    """Runs a detector of ours.

    Args:
        detector: in eval mode.
        categories: of its labels.
        accelerator: where to run.
    """

    def __init__(self, detector: Detector, categories: tuple[Category, ...], accelerator: torch.device) -> None:
        self._detector = detector.to(accelerator)
        self._anchors = detector.anchors(detector.subnet).to(accelerator)
        self._categories = categories
        self._accelerator = accelerator

    @property
    def categories(self) -> tuple[Category, ...]:
        """Those it was trained on."""
        return self._categories

    @torch.inference_mode()
    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[TeacherDetections]:
        """Detects objects in B images (H, W, 3) RGB, which are stretched."""
        if not images:
            return []
        subnet = self._detector.subnet
        size = subnet.resolution, subnet.resolution
        batch = torch.from_numpy(np.stack([stretch(image, size) for image in images])).permute(0, 3, 1, 2)
        output = self._detector(normalise(batch.to(self._accelerator)), subnet)
        boxes = decode(output.box_codes, self._anchors).float().cpu().numpy()
        scores = output.logits.float().sigmoid().cpu().numpy()
        return [suppressed(*pair) for pair in zip(boxes, scores, strict=True)]

    @property
    def resolution(self) -> int:
        """Side of the images that it was trained at, in pixels."""
        return self._detector.subnet.resolution

    @torch.inference_mode()
    def features(self, images: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """The maps that its head reads, (B, C, side, side) by side, of B images (R, R, 3) RGB.

        Raises:
            ValueError: images of another resolution than it was trained at.
        """
        levels = tuple(range(len(self._detector.config.space.levels)))
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(self._accelerator)
        output = self._detector(normalise(batch), self._detector.subnet, levels)
        return {feature.shape[-1]: feature.float().cpu().numpy() for feature in output.features}


def open_run_folder(path: Path, *, accelerator: torch.device) -> tuple[RunFolderTeacher, TeacherSource]:
    """Opens a run folder of ours.

    Raises:
        FileNotFoundError: no model in the folder.
        ValueError: it holds a supernet, or a broken file.
    """
    trained = load_detector(path)
    source = TeacherSource(
        name=path.resolve().name, kind="run_folder", sha256=model_sha256(path), classes="of its training"
    )
    return RunFolderTeacher(trained.network, trained.description.categories, accelerator), source


class TorchvisionTeacher:
    """Runs a detector of torchvision; it tells the class of each box alone.

    Args:
        model: in eval mode; it resizes and normalises by itself.
        classes: of its labels.
        accelerator: where to run.
    """

    def __init__(self, model: nn.Module, classes: TeacherClasses, accelerator: torch.device) -> None:
        self._model = model.to(accelerator)
        self._classes = classes
        self._accelerator = accelerator

    @property
    def categories(self) -> tuple[Category, ...]:
        """Of its labels that are used."""
        return self._classes.categories

    @torch.inference_mode()
    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[TeacherDetections]:
        """Detects objects in B images (H, W, 3) RGB."""
        if not images:
            return []
        # A copy: what an image cache hands out is read-only, which torch warns of.
        copies = [torch.from_numpy(image.copy()).to(self._accelerator) for image in images]
        tensors = [image.permute(2, 0, 1).float() / 255 for image in copies]
        return [
            self._detections(found, image.shape[:2]) for found, image in zip(self._model(tensors), images, strict=True)
        ]

    @property
    def resolution(self) -> None:
        """None: its features are of images of any size."""
        return

    @torch.inference_mode()
    def features(self, images: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """The maps that its heads read, (B, C, side, side) by side, of B images (R, R, 3) RGB, not resized."""
        model: Any = self._model
        batch = torch.from_numpy(images.copy()).permute(0, 3, 1, 2).to(self._accelerator).float() / 255
        mean, deviation = (batch.new_tensor(values)[:, None, None] for values in _pixel_statistics(model))
        maps = model.backbone((batch - mean) / deviation)
        return {one.shape[-1]: one.cpu().numpy() for one in maps.values()}

    def _detections(self, found: Mapping[str, Tensor], size: tuple[int, ...]) -> TeacherDetections:
        boxes, labels, values = (found[name].cpu().numpy() for name in ("boxes", "labels", "scores"))
        scores = np.zeros((len(labels), len(self._classes.columns)), np.float32)
        scores[np.arange(len(labels)), labels] = values
        height, width = size
        boxes = np.asarray(boxes / np.array([width, height] * 2, np.float32), np.float32)
        return suppressed(boxes, scores[:, self._classes.used])


def open_torchvision(
    name: str, *, weights: str | None, labels: str | None, accelerator: torch.device
) -> tuple[TorchvisionTeacher, TeacherSource]:
    """Opens a detector of torchvision; the number of its classes follows from the weights.

    Args:
        name: of the architecture, as `fasterrcnn_resnet50_fpn_v2`.
        weights: state dict as .pth or .safetensors; one of torchvision's training scripts has it under "model".
        labels: as of `find_classes`, class 0 being the background if the list has a line less than classes.
        accelerator: where to run.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such architecture, or not its weights.
    """
    known = list_models(module=detection)
    if name not in known:
        raise ValueError(f"expected torchvision:NAME of {', '.join(known)}, found {name!r}")
    if weights is None:
        raise ValueError(f"expected --weights with a file of weights for torchvision:{name}, found none")
    path = Path(weights)
    state = _state_dict(path)
    count = _num_classes(name, state, path)
    model = get_model(name, weights=None, weights_backbone=None, num_classes=count)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"expected weights of {name} in {path}, found others: {error}") from error
    thresholded: Any = getattr(model, "roi_heads", model)  # Of R-CNNs, and of the others.
    thresholded.score_thresh = MIN_SCORE
    source = TeacherSource(
        name=f"{name} {path.name}",
        kind="torchvision",
        sha256=model_sha256(path),
        classes=(classes := find_classes(path, count=count, labels=labels)).source,
    )
    return TorchvisionTeacher(model.eval(), classes, accelerator), source


def _pixel_statistics(model: Any) -> tuple[Sequence[float], Sequence[float]]:
    return model.transform.image_mean, model.transform.image_std


def _state_dict(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of weights, found nothing at {path}")
    try:
        content: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler and its zip reader do.
        raise ValueError(f"expected a state dict in {path}, found {error}") from error
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"expected a state dict in {path}, found {type(content).__name__}")
    return content


def _num_classes(name: str, state: Mapping[str, Tensor], path: Path) -> int:
    """How many classes the weights are for, from a tensor that grows with them, as networks of 2 and 3 show."""
    shapes = []
    for count in (2, 3):
        with torch.device("meta"):
            model = get_model(name, weights=None, weights_backbone=None, num_classes=count)
        shapes.append({key: value.shape for key, value in model.state_dict().items()})
    for key, two in shapes[0].items():
        of_a_class = shapes[1][key][0] - two[0] if len(two) else 0
        if of_a_class and key in state and state[key].ndim:
            return int((state[key].shape[0] - two[0]) // of_a_class) + 2
    raise ValueError(f"expected weights of {name} in {path}, found none of its class predictors")
