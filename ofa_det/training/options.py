"""The options of a training in its run folder, and which of them may change when it goes on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ofa_det.artefacts.model_file import CONFIG_FILE, MODEL_FILE
from ofa_det.artefacts.records import check_identity, read_yaml, to_plain
from ofa_det.training.config import OF_THE_SUPERNET, TrainConfig
from ofa_det.training.state import CHECKPOINT_FILE

logger = logging.getLogger(__name__)
MAY_CHANGE = (
    "output",
    "resume",
    "num_workers",
    "cache_mb",
    "checkpoint_every",
    "validate_every",
    "accelerator",
    "watched_subnets",
)
"""Options that a resumed run may have otherwise than the run began."""

_WHAT_OUTPUTS_MEAN = ("assigner.kind", "losses.classification", "losses.box")


def checked_options(run_folder: Path, config: TrainConfig) -> dict[str, Any]:
    """What `config.yaml` will hold; a continued run must have the options it began with."""
    path = run_folder / CONFIG_FILE
    left_out = () if config.supernet is None and config.detector is None else OF_THE_SUPERNET
    complete = {k: v for k, v in to_plain(replace(config, resume=False)).items() if k not in left_out}
    begun, finished = (run_folder / CHECKPOINT_FILE).exists(), (run_folder / MODEL_FILE).exists()
    if (begun or finished) and not config.resume:
        raise ValueError(
            f"expected a new run folder, found a training in {run_folder}; pass --resume to go on with it or another "
            "--output"
        )
    if finished and not begun:
        raise ValueError(f"expected {CHECKPOINT_FILE} in {run_folder} to go on with, found none; pass another --output")
    if begun:
        before = read_yaml(path) if path.is_file() else complete
        if not isinstance(before, dict):
            raise ValueError(f"expected the options of the training in {path}, found none; pass another --output")
        # An option that is younger than the run had its default then. That holds only while defaults do not change: one
        # that does needs its former value here, for the runs from before it.
        defaults = {k: v for k, v in to_plain(TrainConfig(data=config.data)).items() if k in complete}
        settled = [_named(defaults) | _named(found) | dict.fromkeys(MAY_CHANGE) for found in (before, complete)]
        check_identity(*settled, where=str(path), mend="pass the options it began with, or another --output")
    return complete


def warn_of_other_meaning(config: TrainConfig) -> None:
    """Warns if the weights that go on have learnt by another kind of matching or loss than they are now to."""
    source = config.supernet if config.detector is None else config.detector
    path = None if source is None else Path(source) / CONFIG_FILE
    if path is None or not path.is_file():
        return
    known = read_yaml(path)
    before, now = _named(known if isinstance(known, Mapping) else {}), _named(to_plain(config))
    if other := [name for name in _WHAT_OUTPUTS_MEAN if before.get(name, now[name]) != now[name]]:
        learnt = " ".join(f"--{name} {before[name]}" for name in other)
        found = ", ".join(str(now[name]) for name in other)
        logger.warning(
            "%s has learnt with %s, found %s; pass them as well, or a preset that has them", source, learnt, found
        )


def _named(options: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    """Options by their names on the command line, such as `schedule.batch_size`."""
    named: dict[str, Any] = {}
    for key, value in options.items():
        named |= _named(value, f"{section}{key}.") if isinstance(value, Mapping) else {f"{section}{key}": value}
    return named
