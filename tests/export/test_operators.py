"""Every space that ships becomes a file of nothing but its layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from export.operators import ENDING, expected_operators, float_operators, operators

from ofa_det.arch.classes import Category
from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.artefacts.configs import configs_folder, read_space

pytestmark = [pytest.mark.tflite, pytest.mark.slow]

RESOLUTION = 128  # So that every level has enough values for a range.
SPACES = sorted(path.stem for path in (configs_folder() / "spaces").glob("*.yaml"))


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("extreme", ["smallest", "largest"])
def test_an_int8_file_has_the_operators_of_its_plan(name, extreme, randomised):
    """Without transposes, without pairs of quantize and dequantize inside, without islands of float."""
    from ofa_det.export.converted import Recipe
    from ofa_det.export.tflite_model import make_tflite

    space = replace(read_space(name), resolutions=(RESOLUTION,))
    anchors = (((0.2, 0.2), (0.5, 0.3)),) * len(space.levels)
    description = ModelDescription(
        detector=DetectorConfig.of(space, num_classes=2, anchor_sizes=anchors),
        subnet=None,
        categories=(Category(id=1, name="a"), Category(id=2, name="b")),
        postprocess=PostProcessConfig(score_threshold=0.05),
    )
    subnet = space.smallest(RESOLUTION) if extreme == "smallest" else space.largest()
    trained = randomised(description, subnet)
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (16, RESOLUTION // 16, RESOLUTION // 16, 3), dtype=np.uint8)
    images = list(noise.repeat(16, axis=1).repeat(16, axis=2))
    converted = make_tflite(trained, Recipe(format="tflite-int8"), images, images)
    assert operators(converted.content) == expected_operators(converted.plan, input_type="uint8")
    assert float_operators(converted.content) == set(ENDING)
    named = {layer.name for layer in converted.layers}
    assert named == {layer.name for layer in converted.plan.layers}
