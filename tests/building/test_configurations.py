from dataclasses import replace
from pathlib import Path

import pytest

from ofa_det.artefacts.build_record import BuildFolder
from ofa_det.artefacts.configs import read_config
from ofa_det.artefacts.records import to_yaml
from ofa_det.building.choices import Spending
from ofa_det.building.config import BuildConfig, RecipeConfig
from ofa_det.building.configurations import (
    Target,
    detector_config,
    export_config,
    search_config,
    supernet_config,
    target,
)
from ofa_det.building.plan import Plan
from ofa_det.building.teaching import FEATURE_WEIGHT, Teaching
from ofa_det.building.trainings import SHIPPED
from ofa_det.data.splits import DataConfig
from ofa_det.export.config import ExportConfig
from ofa_det.search.config import SearchConfig
from ofa_det.teachers.feature_file import FeatureConfig

DATA = DataConfig(root="DATA")
PLAN = Plan(
    trainings=SHIPPED["general"],
    pretrained=None,
    space="efficientnet_lite0",
    elastic=True,
    whole={},
    spending=Spending(supernet_images=8, search_subnets=4, supernet_s=1.0, search_s=1.0),
    supernet_speed=None,
    file_s=1.0,
    notes=(),
)


def new_build(
    tmp_path: Path,
    *,
    search: SearchConfig | None = None,
    export: ExportConfig | None = None,
) -> BuildConfig:
    """A build by recipes of its own."""
    files = {}
    for name, config in (("search", search), ("export", export)):
        if config is not None:
            files[name] = str(tmp_path / f"{name}.yaml")
            Path(files[name]).write_text(to_yaml(config))
    recipe = RecipeConfig(**files)
    return BuildConfig(data=DATA, latency_cap_ms=(40.0,), output=str(tmp_path), recipe=recipe)


@pytest.fixture
def search() -> SearchConfig:
    return read_config(SearchConfig, "search/pixel2")


@pytest.fixture
def export() -> ExportConfig:
    return read_config(ExportConfig, "export/ovic")


def test_what_is_searched_is_what_ships(search: SearchConfig, export: ExportConfig, tmp_path: Path) -> None:
    config = new_build(
        tmp_path, search=replace(search, runtime="tflite-2018"), export=replace(export, classes="compact")
    )
    asked = target(config)
    assert asked == Target(device="pixel2", runtime="tflite-2018", precision="uint8", classes="compact")
    folder = BuildFolder(tmp_path)
    searching, exporting = search_config(config, PLAN, folder), export_config(config, folder, 40.0, trained_ms=40.0)
    assert (searching.device, searching.runtime, searching.classes) == (asked.device, asked.runtime, asked.classes)
    assert (exporting.device, exporting.runtime, exporting.classes) == (asked.device, asked.runtime, asked.classes)


def test_a_larger_detector_teaches_supernet_and_detectors(tmp_path: Path) -> None:
    teaching = Teaching(labels="LABELS", teacher=None, views=0, features=FeatureConfig(), imitated=True, seconds=0.0)
    config, folder = new_build(tmp_path), BuildFolder(tmp_path)
    subnet = "r224 k3e1 k3e3 k3e3 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3 k3e3"
    single = replace(PLAN, elastic=False, whole={"40ms": subnet}, teaching=teaching)
    trainings = (
        supernet_config(config, replace(PLAN, teaching=teaching), folder),
        detector_config(config, single, folder, 40.0, None),
    )
    for training in trainings:
        assert (training.teacher.labels, training.teacher.feature_weight) == ("LABELS", FEATURE_WEIGHT)


def test_a_runtime_is_of_its_phone(search: SearchConfig, export: ExportConfig, tmp_path: Path) -> None:
    config = replace(new_build(tmp_path, export=replace(export, runtime="tflite-2019")), device="latency_table.json")
    assert target(config).runtime is None
    exporting = export_config(config, BuildFolder(tmp_path), 40.0, trained_ms=40.0)
    assert (exporting.device, exporting.runtime) == ("latency_table.json", None)


def test_a_recipe_searches_for_the_files_that_it_exports(export: ExportConfig, tmp_path: Path) -> None:
    for format_, shipped in (("tflite-float32", "float32 of tflite-float32"), ("onnx", "none of onnx")):
        config = new_build(tmp_path, export=replace(export, format=format_))
        with pytest.raises(ValueError, match=f"in the precision of its files, {shipped}, found uint8"):
            target(config)
