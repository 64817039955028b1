from dataclasses import replace
from pathlib import Path

import pytest

from ofa_det.arch.detector import DetectorConfig, elastic_layers
from ofa_det.artefacts.configs import find_config, read_config, read_space
from ofa_det.training.config import TrainConfig
from ofa_det.training.schedule import ScheduleConfig

SPACES = sorted((Path(__file__).parents[2] / "configs" / "spaces").glob("*.yaml"))


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_shipped_space_reads_and_its_parts_fit_together(path: Path) -> None:
    space = read_space(path.stem)
    assert read_space(str(path)) == space
    assert elastic_layers(DetectorConfig.of(space, num_classes=3, anchor_sizes=space.stock_anchors()))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(FileNotFoundError, match=r"a YAML file or one of .*ssdlite_mbv3, .*, found 'ssdlite'"):
        find_config("spaces", "ssdlite")


def test_a_path_is_a_file_of_the_user(tmp_path: Path) -> None:
    path = tmp_path / "mine.yml"
    with pytest.raises(FileNotFoundError, match=r"found nothing at .*mine\.yml"):
        find_config("spaces", str(path))
    path.write_text("resolutions: [64]\n")
    assert find_config("spaces", str(path)) == path
    with pytest.raises(ValueError, match=r"mine\.yml: expected 'backbone', found none"):
        read_space(str(path))


def test_a_choice_that_is_wrong_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = find_config("spaces", "ssdlite_mbv3").read_text()
    path.write_text(text.replace("kernel_sizes: [3, 5, 7]", "kernel_sizes: [3, 4]", 1))
    with pytest.raises(ValueError, match=r"odd kernel_sizes, found \[3, 4\] at backbone\.stages\[1\]"):
        read_space(str(path))


def test_a_dict_changes_options_of_a_section_and_a_dataclass_replaces_it() -> None:
    shipped = read_config(TrainConfig, "train/small_data")
    changed = read_config(TrainConfig, "train/small_data", schedule={"num_images": 4_000}, seed=3)
    assert changed == replace(shipped, seed=3, schedule=replace(shipped.schedule, num_images=4_000))
    assert read_config(TrainConfig, "train/small_data", schedule=ScheduleConfig()).schedule == ScheduleConfig()


def test_an_unknown_config_names_those_there_are() -> None:
    with pytest.raises(FileNotFoundError, match=r"one of .*search/pixel2.*train/small_data.*, found 'small_data'"):
        read_config(TrainConfig, "small_data")
