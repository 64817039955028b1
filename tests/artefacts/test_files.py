import errno
import math
import os
import stat
import tempfile
from pathlib import Path

import pytest

from ofa_det.artefacts.files import read_json, read_lines, shown, write_atomically, write_json


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

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"^expected room to write .*c\.txt, found No space left on device; free some"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_file_and_folder_are_on_the_disk_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file before it gets its name, the folder after; none of many small ones."""
    path, synced = tmp_path / "c.txt", []

    def sync(descriptor: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))

    monkeypatch.setattr(os, "fsync", sync)
    write_atomically(path, "new")
    assert synced == [(False, False), (True, True)]
    write_atomically(path, "newer", durable=False)
    assert len(synced) == 2


def test_a_folder_that_may_not_be_written_is_told(tmp_path: Path) -> None:
    """A real one: root, who may write anywhere, becomes somebody else for a moment."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others.
        place = Path(folder)
        place.chmod(0o555)
        for parent in place.parents:
            if not parent.stat().st_mode & 0o001:
                pytest.skip(f"{parent} is closed to other users")
        before = os.geteuid()
        if before == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError, match=r"^expected to be allowed to use .*c\.txt, found Permission den"):
                write_atomically(place / "c.txt", "new")
            with pytest.raises(PermissionError, match="choose another"):
                write_atomically(place / "more/c.txt", "new")
        finally:
            os.seteuid(before)
        place.chmod(0o755)
        assert list(place.iterdir()) == []


def test_a_file_where_a_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("file")
    with pytest.raises(OSError, match=r"^expected a folder to write .*a/c\.txt into, found a file in its place"):
        write_atomically(tmp_path / "a/c.txt", "new")


@pytest.mark.parametrize(
    ("content", "lines"), [(b"\xef\xbb\xbfa\r\nb", ["a", "b"]), ("ä\n".encode(), ["ä"]), (b"", [])]
)
def test_lines_of_a_text(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    assert read_lines(path) == lines


def test_what_is_no_utf_8_is_a_value_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("größe".encode("latin-1"))
    with pytest.raises(ValueError, match=r"^expected text in UTF-8 in .*labels\.txt, found other bytes"):
        read_lines(path)


def test_a_value_is_shown_as_json_cut_where_it_is_long() -> None:
    assert [shown(value) for value in (None, True, math.nan, "a\n")] == ["null", "true", "NaN", '"a\\n"']
    assert shown([10**50, {(1, 2): 3}]) == f"[1{'0' * 38}..."
    assert shown({(1, 2): {1, 2}, "a": {1}}) == '{"a": "{1}"}'


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
