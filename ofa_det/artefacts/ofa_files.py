"""Reads the `net.config` and `run.config` of a published once-for-all network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ofa_det.arch.ofa_formats import OfaClassifier, parse_ofa_classifier
from ofa_det.artefacts.configs import configs_folder, read_space
from ofa_det.artefacts.files import read_json

RUN_CONFIG: Final = "run.config"
OFA_SPACES: Final = "ofa_*.yaml"
"""Names of the shipped search spaces that published once-for-all networks are from."""


def read_ofa_classifier(net_config: str | os.PathLike[str]) -> OfaClassifier:
    """The network that a `net.config`, and the `run.config` beside it, describe.

    Raises:
        FileNotFoundError: one of them is not there.
        ValueError: not such files, or a network outside the published spaces.
    """
    path = Path(net_config)
    run_config = path.with_name(RUN_CONFIG)
    if not path.is_file():
        raise FileNotFoundError(f"expected the net.config of a once-for-all network, found nothing at {path}")
    if not run_config.is_file():
        raise FileNotFoundError(f"expected {RUN_CONFIG} beside {path} for the resolution, found none")
    net, run = read_json(path), read_json(run_config)
    spaces = [read_space(str(space)) for space in sorted((configs_folder() / "spaces").glob(OFA_SPACES))]
    try:
        return parse_ofa_classifier(net, run, spaces)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
