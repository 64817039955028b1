"""Stages of a build: each runs once, leaves its configuration and a command that repeats it, and is remembered."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from ofa_det.artefacts.build_record import BuildFolder, StageEntry
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.ledger import Ledger
from ofa_det.artefacts.model_file import model_sha256
from ofa_det.artefacts.records import to_yaml
from ofa_det.building.progress import BuildProgress, Watch
from ofa_det.training.config import TrainConfig

LEDGER_FILE = "build.jsonl"
COMMANDS_FILE = "commands.txt"
AGAIN = "$AGAIN"
"""Stands in `commands.txt` for the folder that the build is repeated in."""

ConfigT = TypeVar("ConfigT")


def is_planned(ledger: Path) -> bool:
    """Whether a build's ledger tells of a plan; before it seconds have been spent, and any option may be wrong."""
    return ledger.is_file() and b'"stage": "plan"' in ledger.read_bytes()


class _Collected(logging.Handler):
    """Keeps what is logged, as text."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def _warnings_of_the_package() -> Iterator[list[str]]:
    """What the package warns of while the block lasts; the log has it as well."""
    package, collected = logging.getLogger("ofa_det"), _Collected(logging.WARNING)
    package.addHandler(collected)
    try:
        yield collected.texts
    finally:
        package.removeHandler(collected)


class Stages:
    """Runs the stages of one build, those alone that are not finished.

    Args:
        folder: of the build.
        ledger: `build.jsonl`, a line for each finished stage, with the hashes of the files that it left.
        progress: display.
    """

    def __init__(self, folder: BuildFolder, ledger: Ledger, progress: BuildProgress) -> None:
        self._folder = folder
        self._ledger = ledger
        self._progress = progress
        self.done: list[StageEntry] = []

    @property
    def seconds(self) -> float:
        """Time of the stages so far."""
        return sum(entry.seconds for entry in self.done)

    def run(
        self,
        name: str,
        step: Callable[[], object],
        *,
        writes: Sequence[Path],
        watch: Watch | None = None,
        command: str = "",
    ) -> None:
        """Runs a stage, unless it is finished.

        Args:
            name: of the stage.
            step: does the work; begun before and interrupted, it goes on or begins anew, by itself.
            writes: the files that make it finished.
            watch: how far it is.
            command: that repeats it.

        Raises:
            ValueError: a finished stage whose files are missing or others.
        """
        known = next((entry for entry in self._ledger.entries if entry["stage"] == name), None)
        if known is None:
            began, whole = time.monotonic(), watch is None or watch() is None
            with self._progress.stage(name, watch), _warnings_of_the_package() as warned:
                step()
            known = {
                "stage": name,
                "command": command,
                "seconds": round(time.monotonic() - began, 2),
                "whole": whole,
                "warnings": list(dict.fromkeys(warned)),
                "files": {self._folder.relative(path): model_sha256(path) for path in writes},
            }
            self._ledger.append(known)
        else:
            self._check(name, known["files"])
        self._progress.finished(name, known["seconds"], whole=known.get("whole", True))
        self.done.append(
            StageEntry(
                name=name,
                command=known["command"],
                seconds=known["seconds"],
                warnings=tuple(known.get("warnings", ())),
            )
        )

    def run_config(
        self,
        name: str,
        tool: str,
        config: ConfigT,
        step: Callable[[ConfigT], object],
        *,
        writes: Sequence[Path],
        watch: Watch | None = None,
    ) -> None:
        """Runs a stage that is another command, and writes its configuration to `configs/NAME.yaml`.

        Args:
            name: of the stage.
            tool: name of the command.
            config: its options.
            step: does the work.
            writes: the files that make it finished.
            watch: how far it is.
        """
        path = self._folder.configs / f"{name}.yaml"
        command = repeating_command(tool, config, path, self._folder)
        header = f"# Stage {name} of a build. To repeat it elsewhere, AGAIN being a folder:\n#   {command}\n"
        write_atomically(path, header + to_yaml(config))
        self.run(name, lambda: step(config), writes=writes, watch=watch, command=command)

    def write_commands(self) -> None:
        """Writes `commands.txt`, a shell script that repeats every stage in another folder."""
        root = shlex.quote(str(self._folder.root))
        head = (
            f"# Every stage of the build in {root}, to be repeated in another folder:\n"
            f"#   sh {root}/{COMMANDS_FILE} ANOTHER_FOLDER\n"
            "# A line alone repeats one stage. The options stand in configs/, and can be changed there.\n"
            "AGAIN=${1:?expected the folder to repeat the build in}\nset -e\n"
        )
        lines = "".join(f"{entry.command}\n" for entry in self.done if entry.command)
        write_atomically(self._folder.root / COMMANDS_FILE, head + lines)

    def _check(self, name: str, files: dict[str, str]) -> None:
        for relative, expected in files.items():
            path = self._folder.root / relative
            if not path.is_file() or model_sha256(path) != expected:
                found = "another" if path.is_file() else "none"
                raise ValueError(
                    f"expected {path} as stage {name} left it, found {found}; build in another --output, or delete the "
                    f"line of {name} and those below it in {self._folder.root / LEDGER_FILE} to go on from there"
                )


def repeating_command(tool: str, config: Any, path: Path, folder: BuildFolder) -> str:
    """The command that repeats a stage from its configuration, reading and writing the other folder.

    Args:
        tool: name of the command.
        config: its options; those whose value is a path of another stage are put into the other folder.
        path: of the configuration.
        folder: of the build.
    """
    words = ["ofa-det", tool, "--config", shlex.quote(str(path))]
    options = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    if isinstance(config, TrainConfig):
        options["teacher.labels"] = config.teacher.labels
    for name, value in options.items():
        if not isinstance(value, str) or not Path(value).is_relative_to(folder.root):
            continue
        if not Path(value).is_relative_to(folder.configs):
            words += [f"--{name}", f'"{AGAIN}/{folder.relative(Path(value))}"']
    return " ".join(words)
