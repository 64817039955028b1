"""`model.safetensors`: weights whose header says what network they belong to. Reading it needs no torch."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ofa_det.arch.description import ModelDescription
from ofa_det.artefacts.files import parse_json, shown
from ofa_det.artefacts.records import from_plain, to_plain

SCHEMA_VERSION = 3
OLDER_VERSION = 2
"""The same but for supernets: their predictors of boxes did not know the resolution."""

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.yaml"
MAX_RESOLUTION_PX = 8192
"""A file that states more is damaged or hostile; images and anchors of that size would not fit in memory."""

_HEADER_KEY = "ofa_det"


def description_header(description: ModelDescription) -> dict[str, str]:
    """The description as metadata of a safetensors file."""
    return {_HEADER_KEY: json.dumps({"schema_version": SCHEMA_VERSION, **to_plain(description)})}


def read_description(run_folder: str | os.PathLike[str]) -> ModelDescription:
    """Reads what network a run folder holds, without its weights.

    Raises:
        FileNotFoundError: no model in the folder.
        ValueError: a file of another kind or schema version.
    """
    path = Path(run_folder) / MODEL_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a run folder with {MODEL_FILE}, found none in {run_folder}; was its training finished?"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(_HEADER_KEY, "{}")
    except SafetensorError as error:
        raise ValueError(
            f"expected weights in {path}, found a cut or damaged file; copy it anew, or train anew"
        ) from error
    header = parse_json(text, where=f"the header of {path}")
    found = header.pop("schema_version", None) if isinstance(header, dict) else None
    version = "none" if found is None else shown(found)
    wanted = f"expected {path} of schema_version {SCHEMA_VERSION}, found {version}; train it anew"
    if found not in (SCHEMA_VERSION, OLDER_VERSION):
        raise ValueError(wanted)
    description = from_plain(ModelDescription, header, where=str(path))
    subnet, space = description.subnet, description.detector.space
    if found == OLDER_VERSION and subnet is None:
        raise ValueError(wanted)
    if (largest := max((*space.resolutions, *((subnet.resolution,) if subnet else ())))) > MAX_RESOLUTION_PX:
        raise ValueError(f"expected resolutions up to {MAX_RESOLUTION_PX} px in {path}, found {largest}; train it anew")
    return description


def model_sha256(path: str | os.PathLike[str]) -> str:
    """Hash of a model file, for a run folder that of its weights, as hexadecimal digits."""
    path = Path(path)
    with (path / MODEL_FILE if path.is_dir() else path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
