import math
from pathlib import Path

import pytest

from ofa_det.artefacts.files import read_json, write_atomically, write_json


def test_a_file_and_its_folder_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    write_atomically(path, "größer")
    assert path.read_bytes() == "größer".encode()
    write_atomically(path, b"\0")
    assert path.read_bytes() == b"\0"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.txt"
    write_atomically(path, "old")

    def half(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:1])
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_round_trip(tmp_path: Path) -> None:
    value = {"a": [1, 0.1 + 0.2, None, "ö"], "b": {"c": True}}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value


def test_not_a_number_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", math.nan)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"{", b"", b"\xff"])
def test_what_is_not_json_is_a_value_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"expected JSON in .*x\.json"):
        read_json(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_json(path)
