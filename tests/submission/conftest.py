from collections.abc import Callable
from pathlib import Path

import pytest

from ofa_det.arch.classes import Category
from ofa_det.arch.description import PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.manifest import (
    MANIFEST_FILE,
    Manifest,
    ModelEntry,
    NetworkEntry,
    QuantizationEntry,
    SourceEntry,
    TensorEntry,
)
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import write_record


@pytest.fixture
def write_manifest(tiny_space: SearchSpace) -> Callable[..., Manifest]:
    """Writes the manifest of a model file whose classes have these category ids, None an unused one."""

    def write(model: Path, *category_ids: int | None) -> Manifest:
        known = sorted(category_id for category_id in category_ids if category_id is not None)
        manifest = Manifest(
            format="tflite-int8",
            model=ModelEntry(file=model.name, bytes=model.stat().st_size, sha256=model_sha256(model)),
            class_category_ids=category_ids,
            input=TensorEntry(name="images", shape=(1, 6, 8, 3), dtype="uint8", content="RGB bytes"),
            outputs=(),
            quantization=QuantizationEntry(method="int8", calibration_images=17, box_codes=(), logits=()),
            verification={"box_code_sqnr_db": 21.25, "score_sqnr_db": 23.75},
            network=NetworkEntry(
                detector=DetectorConfig.of(tiny_space, num_classes=len(known), anchor_sizes=ssd_anchor_sizes()),
                subnet=tiny_space.smallest(),
                macs=12_345_678,
                parameters=2_345_678,
                anchors=345,
                categories=tuple(Category(id=category_id, name=f"name {category_id}") for category_id in known),
            ),
            postprocess=PostProcessConfig(),
            source=SourceEntry(run_folder="runs/det", weights_sha256="abc123", config={}),
            export={},
        )
        write_record(model.with_name(MANIFEST_FILE), manifest)
        return manifest

    return write
