"""An ONNX file that takes images, whatever it makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ofa_det.teachers.decoder import InputFormat

_DTYPES: Mapping[str, type[Any]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(uint8)": np.uint8,
}


class OnnxFile:
    """Runs on the CPU.

    Args:
        path: the file.
        threads: for each operator.
        content: of the file, changed; by default as it is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not an ONNX file, or not one that takes one image, or one batch of them.
    """

    def __init__(self, path: Path, *, threads: int, content: bytes | None = None) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"expected an .onnx file, found nothing at {path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        if content is not None:  # Weights in other files lie beside it.
            options.add_session_config_entry(
                "session.model_external_initializers_file_folder_path", str(path.resolve().parent)
            )
        try:
            self._session = onnxruntime.InferenceSession(
                path if content is None else content, options, providers=["CPUExecutionProvider"]
            )
        # onnxruntime's exceptions share no base class but Exception; whichever it is, the file does not load.
        except Exception as error:
            raise ValueError(f"expected an .onnx file that loads, found {path}: {error}") from error
        self.path = path
        inputs = self._session.get_inputs()
        shapes = ", ".join(f"{value.name} {value.shape} {value.type}" for value in inputs)
        if len(inputs) != 1 or len(inputs[0].shape) not in (3, 4) or inputs[0].type not in _DTYPES:
            raise ValueError(
                f"expected one input of images, of float32, float16 or uint8, with three or four dimensions in {path}, "
                f"found {shapes}"
            )
        self._name = inputs[0].name
        self.dtype = _DTYPES[inputs[0].type]
        sides = tuple(side if isinstance(side, int) else None for side in inputs[0].shape)
        self._has_batch = len(sides) == 4
        self._image_shape = sides[-3:]
        self.batch_size = sides[0] if self._has_batch else 1
        """Images of a run; None takes any number."""
        self.output_names = tuple(value.name for value in self._session.get_outputs())
        outputs = ", ".join(f"{value.name} {value.shape}" for value in self._session.get_outputs())
        self.signature = f"{shapes} -> {outputs}"
        """Inputs and outputs, for messages."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the file says of itself."""
        found: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        return found

    def size(self, input_format: InputFormat) -> tuple[int, int] | None:
        """(height, width) of the images it takes, in pixels; None takes any.

        Raises:
            ValueError: the input is not of that format.
        """
        channels, *sides = self._image_shape
        if input_format.layout == "nhwc":
            *sides, channels = self._image_shape
        if channels not in (3, None):
            raise ValueError(f"expected an input with 3 channels in {input_format.layout}, found {self.signature}")
        if self.dtype is np.uint8 and (any(input_format.mean) or set(input_format.std) != {1.0}):
            raise ValueError("expected a float input, whose bytes are normalised, found uint8")
        height, width = sides
        if height is None or width is None:
            return input_format.size
        return height, width

    def shape(self, input_format: InputFormat, size: tuple[int, int]) -> tuple[int, ...]:
        """Shape of the input for images of a size (height, width) in pixels, one of them where any number will do."""
        image = (3, *size) if input_format.layout == "nchw" else (*size, 3)
        return (self.batch_size or 1, *image) if self._has_batch else image

    def run(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Outputs by name, with their batch dimension.

        Args:
            images: (B, ...), B the file's `batch_size` if it has one.

        Raises:
            ValueError: the file does not run on such images.
        """
        try:
            outputs = self._session.run(None, {self._name: images if self._has_batch else images[0]})
        except Exception as error:  # As in `__init__`.
            raise ValueError(f"expected {self.path} to run on images {images.shape}, found {error}") from error
        return dict(zip(self.output_names, map(np.asarray, outputs), strict=True))
