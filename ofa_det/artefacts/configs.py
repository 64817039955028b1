"""The configuration files that the package carries, search spaces among them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.records import from_plain, read_yaml, to_plain

T = TypeVar("T")


def configs_folder() -> Path:
    """`configs/`: inside the package where it is installed from a wheel, beside it in the sources."""
    package = Path(__file__).parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.with_name("configs")


def find_config(room: str, name_or_path: str) -> Path:
    """A YAML file of the user's, by its path, or one that the package carries, by its name.

    Args:
        room: folder of `configs/` that holds such files.
        name_or_path: a path ends in .yaml or .yml.

    Raises:
        FileNotFoundError: there is none; the message lists the names.
    """
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise FileNotFoundError(f"expected a YAML file, found nothing at {path}")
        return path
    folder = configs_folder() / room
    if not (folder / f"{name_or_path}.yaml").is_file():
        raise _no_config(sorted(other.stem for other in folder.glob("*.yaml")), name_or_path)
    return folder / f"{name_or_path}.yaml"


def _no_config(known: Sequence[str], name: str) -> FileNotFoundError:
    close = get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return FileNotFoundError(f"expected a YAML file or one of {', '.join(known)}, found {name!r}{meant}")


def read_space(name_or_path: str) -> SearchSpace:
    """A search space from a YAML file, or one that the package carries, by its name.

    Raises:
        FileNotFoundError: there is none.
        ValueError: not a search space.
    """
    path = find_config("spaces", name_or_path)
    return from_plain(SearchSpace, read_yaml(path), where=str(path))


def read_config(kind: type[T], name_or_path: str, **options: Any) -> T:
    """The options of a step from a YAML file, or from one that the package carries.

    Args:
        kind: dataclass of the options, such as `TrainConfig`.
        name_or_path: a path, or the room and name of a file in `configs/`, such as "train/small_data".
        options: that take the place of the file's; a dict changes options of a section, a dataclass is a whole one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: unknown options, or values of another type.
    """
    room, _, name = name_or_path.rpartition("/")
    if not name_or_path.endswith((".yaml", ".yml")) and not (configs_folder() / room / f"{name}.yaml").is_file():
        known = sorted(f"{path.parent.name}/{path.stem}" for path in configs_folder().glob("*/*.yaml"))
        raise _no_config(known, name_or_path)
    path = Path(name_or_path) if name_or_path.endswith((".yaml", ".yml")) else find_config(room, name)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ValueError(f"expected options in {path}, found {type(content).__name__}")
    for key, value in options.items():
        section = content.get(key)
        merge = isinstance(value, dict) and isinstance(section, dict)
        content[key] = section | to_plain(value) if merge else to_plain(value)
    return from_plain(kind, content, where=str(path))
