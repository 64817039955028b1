import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from ofa_det.arch.description import ModelDescription
from ofa_det.artefacts.model_file import MODEL_FILE, description_header, model_sha256, read_description


def write(folder: Path, header: dict[str, str] | None) -> bytes:
    content = save({"x": np.zeros(1, np.float32)}, metadata=header)
    (folder / MODEL_FILE).write_bytes(content)
    return content


def test_a_description_comes_back_from_the_header(tmp_path: Path, description: ModelDescription) -> None:
    content = write(tmp_path, description_header(description))
    assert read_description(tmp_path) == description
    digest = hashlib.sha256(content).hexdigest()
    assert model_sha256(tmp_path) == model_sha256(tmp_path / MODEL_FILE) == digest


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "schema_version 3, found none; train it anew"),
        ({"format": "pt"}, "schema_version 3, found none"),
        ({"ofa_det": json.dumps({"schema_version": 1})}, "schema_version 3, found 1"),
        ({"ofa_det": json.dumps({"schema_version": 2, "model": 1})}, "expected keys of detector, .*found 'model'"),
        ({"ofa_det": "{"}, "expected JSON in the header of"),
    ],
)
def test_another_kind_of_header_is_refused(tmp_path: Path, header: dict[str, str] | None, message: str) -> None:
    write(tmp_path, header)
    with pytest.raises(ValueError, match=message) as error:
        read_description(tmp_path)
    assert MODEL_FILE in str(error.value)


def test_of_the_version_before_detectors_are_read_and_supernets_are_not(
    tmp_path: Path, description: ModelDescription
) -> None:
    """Predictors of boxes of a supernet have learnt other codes then."""
    supernet = replace(description, subnet=None)
    detector = replace(description, subnet=description.detector.space.smallest())
    for whole in (supernet, detector):
        (key, text), *_ = description_header(whole).items()
        write(tmp_path, {key: text.replace('"schema_version": 3', '"schema_version": 2')})
        if whole is detector:
            assert read_description(tmp_path) == whole
        else:
            with pytest.raises(ValueError, match="of schema_version 3, found 2; train it anew"):
                read_description(tmp_path)


def test_what_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected a run folder with model\.safetensors"):
        read_description(tmp_path)
    (tmp_path / MODEL_FILE).write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"expected weights in .*model\.safetensors"):
        read_description(tmp_path)
