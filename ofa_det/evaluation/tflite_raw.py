"""Runs a `.tflite` detector of our export that gives box codes and scores, and leaves suppression to its reader."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ofa_det.arch.description import PostProcessChange
from ofa_det.artefacts.manifest import ANCHORS_FILE, MANIFEST_FILE, Manifest
from ofa_det.artefacts.tflite_content import open_interpreter
from ofa_det.detection.box_coder import CODE_WEIGHTS, TF_BOX_ORDER, decode
from ofa_det.detection.detections import Detections
from ofa_det.detection.postprocessing import postprocess
from ofa_det.evaluation.one_by_one import OneByOne
from ofa_det.evaluation.tflite import image_input, input_values

RAW_OUTPUTS: Final = ("box_codes", "scores")


def gives_raw_outputs(manifest: Manifest | None) -> bool:
    """Whether a file leaves suppression to its reader."""
    return manifest is not None and tuple(output.name for output in manifest.outputs) == RAW_OUTPUTS


class RawTfliteDetector(OneByOne):
    """A `.tflite` file with raw outputs as a `Predictor`; suppression happens here, as the manifest says.

    Args:
        path: the file, with `anchors.safetensors` beside it.
        manifest: of it.
        num_threads: threads that the interpreter uses for one image.
        postprocess: settings that replace the manifest's.

    Raises:
        FileNotFoundError: no such file, or no anchors beside it.
        ValueError: the file is no TFLite model, or does not belong to these anchors.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        manifest: Manifest,
        *,
        num_threads: int = 1,
        postprocess: PostProcessChange | None = None,
    ) -> None:
        path = Path(path)
        self._interpreter = open_interpreter(path.read_bytes(), where=str(path), threads=num_threads)
        self._input = image_input(path, self._interpreter)
        self._outputs = [int(entry["index"]) for entry in self._interpreter.get_output_details()]
        self._anchors = torch.from_numpy(_anchors(path.with_name(ANCHORS_FILE), manifest))
        self._category_ids = manifest.class_category_ids
        self._config = (postprocess or PostProcessChange()).applied(manifest.postprocess)
        # (ty, tx, th, tw) in the file's scales to (dx, dy, dw, dh) in ours.
        self._order = np.argsort(TF_BOX_ORDER)
        scales = np.array(_box_scales(manifest), np.float32)
        self._factors = np.array(CODE_WEIGHTS, np.float32) / scales[self._order]

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the images it takes, in pixels."""
        _, height, width, _ = self._input["shape"].tolist()
        return height, width

    def _predict_one(self, image: NDArray[np.uint8]) -> Detections:
        self._interpreter.set_tensor(self._input["index"], input_values(image, self._input["dtype"]))
        self._interpreter.invoke()
        codes, scores = (self._interpreter.get_tensor(index)[0] for index in self._outputs)
        ours = torch.from_numpy(codes[:, self._order] * self._factors)
        boxes, kept, labels = postprocess(decode(ours, self._anchors), torch.from_numpy(scores), self._config)
        ids = np.array([self._category_ids[label] or 0 for label in labels.tolist()], np.int64)
        return Detections(boxes=boxes.numpy(), scores=kept.numpy(), category_ids=ids)


def _anchors(path: Path, manifest: Manifest) -> NDArray[np.float32]:
    """(A, 4) (cx, cy, w, h)."""
    if not path.is_file():
        raise FileNotFoundError(f"expected the anchors of the file's box codes in {path}, found none; export it again")
    try:
        anchors: NDArray[np.float32] = load_file(path)["anchors"]
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"expected anchors in {path}, found {error}; export it again") from error
    if anchors.shape != (manifest.network.anchors, 4) or anchors.dtype != np.float32:
        raise ValueError(
            f"expected {manifest.network.anchors} anchors in {path}, as {MANIFEST_FILE} says, "
            f"found shape {anchors.shape}"
        )
    return anchors


def _box_scales(manifest: Manifest) -> tuple[float, ...]:
    """y_scale, x_scale, h_scale and w_scale of the file's box codes."""
    ending = manifest.export.get("ending")
    scales = ending.get("box_scales") if isinstance(ending, Mapping) else None
    if not isinstance(scales, list | tuple) or len(scales) != 4:
        raise ValueError(f"expected four ending.box_scales in {MANIFEST_FILE}, found {scales}; export it again")
    return tuple(map(float, scales))
