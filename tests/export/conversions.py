"""A detector's file, as tests want it."""


def converted_file(trained, images, *, quantized):
    """Int8 after training, or float32; the same images calibrate and compare."""
    # Imported on demand: TensorFlow takes seconds.
    from ofa_det.export.converted import Recipe
    from ofa_det.export.tflite_model import make_tflite

    recipe = Recipe(format="tflite-int8" if quantized else "tflite-float32")
    return make_tflite(trained, recipe, images, images)
