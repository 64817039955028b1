"""File names that an annotation file states: they come from elsewhere and stay within the image folder."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from ofa_det.artefacts.files import shown


def name_fault(name: str) -> str | None:
    """What is wrong with a name relative to the image folder, for an error; None if it stays within.

    Links are another matter, see `FolderGuard`: they are in the folder, not in the name.
    """
    if not name or not is_text(name) or "\0" in name:
        return f"{shown(name, 80)}, which no file can have"
    # Names written on Windows are judged as Windows would, so that a data set means the same everywhere.
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("\\"):
        return f"the absolute path {shown(name, 80)}"
    if ".." in PurePosixPath(name).parts or ".." in PureWindowsPath(name).parts:
        return f"{shown(name, 80)}, which leads out of it"
    return None


def is_text(value: str) -> bool:
    """Whether a text can be written as UTF-8: JSON can state half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class FolderGuard:
    """Finds links that lead out of a folder, with one system call for most files.

    Args:
        folder: the folder, which may itself be a link.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root = folder.resolve()
        self._inside = {folder: True}

    def holds(self, name: str) -> bool:
        """Whether the file of this name, whatever its links, lies in the folder.

        Raises:
            OSError: there is no such file.
            ValueError: it is no regular file; reading from a pipe or a device may never end.
        """
        path = self._folder / name
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            if not path.resolve().is_relative_to(self._root):
                return False
            mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise ValueError(f"expected an image, found {path}, which is no file; replace it")
        return self._is_inside(path.parent)

    def _is_inside(self, folder: Path) -> bool:
        if folder not in self._inside:
            self._inside[folder] = folder.resolve().is_relative_to(self._root)
        return self._inside[folder]
