"""Output folders that cannot be written, for `test_hostile_inputs.py`."""

from __future__ import annotations

import resource
import subprocess
import sys

from hostile_data import Room, Row

ALONE = "import sys\nfrom ofa_det.artefacts.locks import only_writer\nwith only_writer(sys.argv[1]): print(), input()"


def into(output: str, command: str = "convert") -> Row:
    """A sound data set converted, or trained on, into `output` of the room."""

    def make(room: Room) -> list[str]:
        source = "--source" if command == "convert" else "--data.root"
        return [command, source, str(room.data_root), "--output", str(room.folder / output)]

    return make


def a_file(room: Room) -> list[str]:
    room.write("taken", "")
    return into("taken")(room)


def a_full_folder(room: Room) -> list[str]:
    room.write("full/file", "")
    return into("full")(room)


def below_a_file(room: Room) -> list[str]:
    room.write("taken", "")
    return into("taken/converted")(room)


def without_room(room: Room) -> list[str]:
    """A limit on the size of files is refused on the same way as a full disk, and needs no file system of its own."""
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, most))
    room.stack.callback(resource.setrlimit, resource.RLIMIT_FSIZE, (before, most))
    return into("converted")(room)


def with_a_run(room: Room) -> list[str]:
    """Another process holds the folder."""
    output = room.folder / "run"
    words = [sys.executable, "-c", ALONE, str(output)]
    holder = room.stack.enter_context(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    room.stack.callback(holder.kill)
    assert holder.stdout is not None
    assert holder.stdout.readline()
    return into("run", "train")(room)


OUTPUT_ROWS: dict[str, tuple[Row, str]] = {
    "output: no room on the disk": (without_room, "expected room to write"),
    "output: read-only file system": (into("/sys/converted"), "expected to be allowed to use"),
    "output: a file": (a_file, "found a file"),
    "output: below a file": (below_a_file, "found a file in its place"),
    "output: a folder with files": (a_full_folder, "expected an empty folder or none"),
    "output: where another run is at work": (with_a_run, "expected no other process at work"),
}
