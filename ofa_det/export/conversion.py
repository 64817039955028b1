"""Keras mirror to `.tflite` without post-processing, in any of the formats."""

from __future__ import annotations

from typing import Any

from ofa_det.export.formats import ExportFormat, InputType
from ofa_det.export.keras_mirror import INPUT_NAME
from ofa_det.export.tensorflow_import import keras, quiet_tensorflow, tf


def convert(mirror: keras.Model, format_: ExportFormat, input_type: InputType) -> bytes:
    """Converts a mirror.

    Args:
        mirror: the network; of an int8 format with fake quantizations, whose ranges become those of the file.
        format_: a `.tflite` one.
        input_type: one that the format can take.

    Returns:
        A flatbuffer with an input of that type, a uint8 one of scale 1/128 and zero point 128, and the mirror's
        outputs in its order, float32, those of an int8 network each behind a DEQUANTIZE.
    """
    with quiet_tensorflow():
        converter = _converter(mirror)
        if format_ != "tflite-float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if format_ == "tflite-float16":
            converter.target_spec.supported_types = [tf.float16]
        if input_type != "float32":
            converter.inference_input_type = tf.uint8 if input_type == "uint8" else tf.int8
        return bytes(converter.convert())


def convert_classifier(mirror: keras.Model) -> bytes:
    """Converts a `classifier_mirror` to int8 with uint8 input and output, as a competition's interface has them."""
    with quiet_tensorflow():
        converter = _converter(mirror)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
        return bytes(converter.convert())


def _converter(mirror: keras.Model) -> Any:
    """A converter of the model with its input's name and its outputs in order."""
    signature = [tf.TensorSpec(mirror.inputs[0].shape, tf.float32, name=INPUT_NAME)]
    function = tf.function(lambda images: mirror(images, training=False), input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], mirror)
    # The detour over a SavedModel takes 8 s more, and leaves weights as variables and the outputs in another order.
    converter.experimental_lower_to_saved_model = False
    return converter
