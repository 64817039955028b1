"""Keras mirror to `.tflite` without post-processing: float32, or int8 by post-training quantization."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ofa_det.detection.preprocessing import normalise_array
from ofa_det.export.keras_mirror import INPUT_NAME
from ofa_det.export.tensorflow_import import keras, quiet_tensorflow, tf

logger = logging.getLogger(__name__)


def convert_float32(mirror: keras.Model) -> bytes:
    """Converts without quantization.

    Returns:
        A flatbuffer with a float32 input in [-1, 1), and the mirror's outputs in its order.
    """
    with quiet_tensorflow():
        return bytes(_converter(mirror).convert())


def convert_int8(mirror: keras.Model, images: Sequence[NDArray[np.uint8]]) -> bytes:
    """Quantizes weights per output channel and activations per tensor; raw RGB bytes go in.

    Args:
        mirror: the float network.
        images: (H, W, 3) uint8 RGB of the mirror's input size; real ones, since they set the ranges of activations.

    Returns:
        A flatbuffer with a uint8 input of scale 1/128 and zero point 128, and the mirror's outputs in its order, each
        float32 behind a DEQUANTIZE.

    Raises:
        ValueError: no images.
    """
    if not images:
        raise ValueError("expected at least one calibration image, found none")
    logger.info("quantizing with %d calibration images", len(images))
    with quiet_tensorflow():
        converter = _converter(mirror)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _calibration_inputs(images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.float32
        return bytes(converter.convert())


def _converter(mirror: keras.Model) -> Any:
    """A converter of the model with its input's name and its outputs in order."""
    signature = [tf.TensorSpec(mirror.inputs[0].shape, tf.float32, name=INPUT_NAME)]
    function = tf.function(lambda images: mirror(images, training=False), input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], mirror)
    # The detour over a SavedModel takes 8 s more, and leaves weights as variables and the outputs in another order.
    converter.experimental_lower_to_saved_model = False
    return converter


def _calibration_inputs(images: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.float32]]]:
    images = iter(images)
    first = next(images).copy()
    # Both extreme bytes must be seen, or the input's range would depend on the images: [-1, 127/128] is what makes the
    # scale exactly 1/128 and the zero point 128.
    first[0, 0], first[0, 1] = 0, 255
    for image in itertools.chain([first], images):
        yield [normalise_array(image[None])]
