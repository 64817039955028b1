import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ofa_det.artefacts.locks import LOCK_FILE, alone_in_output, only_writer

HOLD = """
import os, sys
from ofa_det.artefacts.locks import only_writer
with only_writer(sys.argv[1]):
    if os.fork() == 0:  # As a worker that outlives the run.
        sys.stdin.read()
        os._exit(0)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield folder, process
    process.stdin.close()
    process.stdout.close()
    process.wait()


def test_a_second_process_is_refused_until_the_first_is_killed_whatever_its_workers_do(holder):
    folder, process = holder
    refused = f"no other process at work in {folder}, found process {process.pid}; wait"
    with pytest.raises(ValueError, match=refused), only_writer(folder):
        pass
    process.kill()
    process.wait()
    with only_writer(folder):
        assert (folder / LOCK_FILE).read_text() == str(os.getpid())
    assert not (folder / LOCK_FILE).exists()


def test_a_folder_that_was_made_for_nothing_is_removed_and_another_kept(tmp_path):
    with pytest.raises(RuntimeError), only_writer(tmp_path / "new"):
        raise RuntimeError
    assert not (tmp_path / "new").exists()
    with only_writer(tmp_path / "used"):
        (tmp_path / "used/file").touch()
    with only_writer(tmp_path / "used"):
        pass
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["file"]


def test_a_step_holds_the_lock_of_its_output(tmp_path):
    @alone_in_output
    def step(config, number):
        return (tmp_path / "out" / LOCK_FILE).exists(), number

    assert step(SimpleNamespace(output=str(tmp_path / "out")), 3) == (True, 3)
