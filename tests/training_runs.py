"""Short trainings of tests, whole and cut off."""

from pathlib import Path

import pytest

from ofa_det.arch.description import PostProcessConfig
from ofa_det.artefacts.model_file import read_description
from ofa_det.training import optimiser
from ofa_det.training.config import TrainConfig
from ofa_det.training.run import train

POSTPROCESS = PostProcessConfig(score_threshold=0.001, max_detections=7)


def run(config: TrainConfig) -> Path:
    result = train(config, progress=False)
    assert result.model_file == Path(config.output) / "model.safetensors"
    assert result.description == read_description(config.output)
    return result.model_file


def interrupted_at(call: int, monkeypatch: pytest.MonkeyPatch, config: TrainConfig) -> None:
    """Trains until Ctrl-C in a step."""
    original, calls = optimiser.accumulate_gradients, iter(range(1, call + 1))

    def interrupted(*args: object, **kwargs: object) -> object:
        if next(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(optimiser, "accumulate_gradients", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, progress=False)
