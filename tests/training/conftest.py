from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_runs import POSTPROCESS, run

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.space import SearchSpace
from ofa_det.data.batch import Batch
from ofa_det.data.splits import DataConfig
from ofa_det.training.config import TrainConfig
from ofa_det.training.schedule import ScheduleConfig

NewConfig = Callable[..., TrainConfig]
MakeBatch = Callable[..., Batch]


@pytest.fixture(scope="session")
def new_config(tiny_root: Path, tiny_space_file: Path) -> NewConfig:
    """A training of four steps of four images; changes of the schedule are options of their own."""

    def make(output: Path, **changes: object) -> TrainConfig:
        of_schedule = {name: changes.pop(name) for name in ScheduleConfig.__dataclass_fields__ if name in changes}
        schedule = ScheduleConfig(
            **{"num_images": 16, "batch_size": 4, "warmup_images": 4, "ema_decay": 0.5} | of_schedule
        )
        options = {
            "data": DataConfig(root=str(tiny_root)),
            "space": str(tiny_space_file),
            "schedule": schedule,
            "num_workers": 0,
            "calibration_images": 4,
            "checkpoint_every": 4,
            "validate_every": 1000,
            "watched_subnets": 0,
            "accelerator": "cpu",
            "output": str(output),
        }
        if changes.get("supernet") is not None:
            del options["space"]
        return TrainConfig(**options | changes)

    return make


@pytest.fixture(scope="session")
def shallow(tiny_space: SearchSpace) -> DetectorConfig:
    """Three classes on the two finest levels, without a neck."""
    space = replace(tiny_space, neck=(), levels=tiny_space.levels[:2])
    return DetectorConfig.of(space, num_classes=3, anchor_sizes=(((0.2, 0.2), (0.4, 0.3)), ((0.6, 0.6),)))


@pytest.fixture(scope="session")
def make_batch() -> MakeBatch:
    """Four noisy images of a resolution, two with an object; the same for the same seed."""

    def make(resolution: int, seed: int = 0, box: tuple[float, float, float, float] = (0.2, 0.2, 0.7, 0.8)) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        none, no_labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
        return Batch(
            images=torch.randint(0, 256, (4, 3, resolution, resolution), dtype=torch.uint8, generator=generator),
            boxes=(torch.tensor([box]), none, torch.tensor([box]), none),
            labels=(torch.tensor([1]), no_labels, torch.tensor([2]), no_labels),
            ignored=(none,) * 4,
            attached=({},) * 4,
        )

    return make


@pytest.fixture(scope="session")
def data(tiny_root: Path) -> DataConfig:
    return DataConfig(root=str(tiny_root), holdout_fraction=0.3)


@pytest.fixture(scope="session")
def supernet(new_config: NewConfig, data: DataConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for four steps."""
    folder = tmp_path_factory.mktemp("runs") / "supernet"
    run(new_config(folder, data=data, validate_every=8, postprocess=POSTPROCESS))
    return folder


@pytest.fixture
def again(new_config: NewConfig, data: DataConfig) -> NewConfig:
    """The training of `supernet` with another output, and changes."""
    return lambda folder, **changes: new_config(
        folder, **{"data": data, "validate_every": 8, "postprocess": POSTPROCESS} | changes
    )
