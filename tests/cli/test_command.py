import errno
import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from made_up_command import Depths, Options, run_with

import ofa_det
from ofa_det.artefacts.records import to_yaml
from ofa_det.cli.command import Printed, command
from ofa_det.cli.main import main

TOOLS = Path(__file__).parents[2] / "tools"


def test_nested_options_and_a_bare_switch():
    status, (options,) = run_with("--root", "x", "--resume", "--rate", "2", "--depths.choices", "[1,2]")
    assert status == 0
    assert options == Options(root="x", resume=True, rate=2.0, depths=Depths(choices=(1, 2)))


def test_yaml_round_trip_with_an_override(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(to_yaml(Options(root="x", rate=3.0, depths=Depths(choices=(1,), most=4))))
    assert run_with("--config", str(path), "--rate", "4")[1] == [
        Options(root="x", rate=4.0, depths=Depths(choices=(1,), most=4))
    ]


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A folder of presets."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/quick.yaml").write_text("root: quick\nrate: 7\n")
    (tmp_path / "tests/slow.yaml").write_text("root: slow\n")
    monkeypatch.setattr("ofa_det.artefacts.configs.configs_folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", [("--rate", "4", "--config", "quick"), ("--rate=4", "--config=quick")])
def test_an_option_says_more_than_a_preset_wherever_it_stands(room, words):
    assert run_with(*words, presets="tests")[1] == [Options(root="quick", rate=4.0)]


@pytest.mark.parametrize("words", [("--config", "quick"), ("--config=quick",)])
def test_a_preset_is_found_by_its_name(room, words):
    assert run_with(*words, "--rate", "8", presets="tests")[1] == [Options(root="quick", rate=8.0)]
    path = str(room / "tests/quick.yaml")
    assert run_with("--config", path, presets="tests")[1] == [Options(root="quick", rate=7.0)]


def test_the_names_that_there_are_answer_an_unknown_one(room, capsys):
    assert run_with("--config", "quik", presets="tests")[0] == 2
    error = capsys.readouterr().err
    assert error == (
        "ofa-det test: error: expected a YAML file or one of quick, slow, found 'quik'; did you mean quick?\n"
    )


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "root"),
        (["--root", "x", "--speed", "1"], "speed"),
        (["--root", "x", "--rate", "fast"], "rate"),
        (["--root", "x", "--depths.least", "1"], "depths.least"),
        (["--root", "x", "--depths.choices", "[2,1]"], "expected ascending choices, found [2, 1]"),
        (["--config", "missing.yaml"], "missing.yaml"),
        (["--config"], "--config"),
    ],
)
@pytest.mark.parametrize("presets", [None, "train"])
def test_a_mistake_is_one_line_and_status_2(capsys, argv, words, presets):
    status, seen = run_with(*argv, presets=presets)
    error = capsys.readouterr().err
    assert (status, seen) == (2, [])
    assert error.count("\n") == 1
    assert words in error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("root: x\nspeed: 1\n", "speed"),
        ("root: x\ndepths: {least: 1}\n", "least"),
        ("root: x\ndepths: {most: many}\n", "most"),
        ("root: x\ndepths:\n", "empty"),
        ("root: [x\n", "expected YAML in"),
        ("- root\n", "expected YAML of options with their values, found - root"),
    ],
)
def test_a_mistake_in_the_yaml_is_one_line_and_status_2(capsys, tmp_path, text, words):
    path = tmp_path / "options.yaml"
    path.write_text(text)
    status, seen = run_with("--config", str(path))
    error = capsys.readouterr().err
    assert (status, seen) == (2, [])
    assert error.count("\n") == 1
    assert words in error


@pytest.mark.parametrize("error", [ValueError("expected a,\nfound b"), FileNotFoundError("expected a, found b")])
def test_an_error_of_the_library_is_one_line_and_status_2(capsys, error):
    def fail(options):
        raise error

    assert run_with("--root", "x", action=fail)[0] == 2
    assert capsys.readouterr().err == "ofa-det test: error: expected a, found b\n"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "expected room to write runs/x/metrics.jsonl, found No space left on device; free some"),
        (errno.EROFS, "expected to be allowed to use runs/x/metrics.jsonl, found Read-only file system; change that"),
    ],
)
def test_an_error_of_the_disk_says_what_to_do(capsys, number, words):
    def fail(options):
        raise OSError(number, os.strerror(number), "runs/x/metrics.jsonl")

    assert run_with("--root", "x", action=fail)[0] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ofa-det test: error: {words}")


def test_file_names_that_are_no_utf_8_can_be_told(capsys):
    name = os.fsdecode(b"gr\xf6\xdfe.jpg")

    def fail(options):
        raise ValueError(f"expected an image, found {name}")

    assert run_with("--root", "x", action=fail)[0] == 2
    assert capsys.readouterr().err == "ofa-det test: error: expected an image, found gr\\udcf6\\udcdfe.jpg\n"
    main = command("test", "Tests.", Options, lambda options: Printed(text=name, values={"image": name}))
    assert main(["--root", "x"]) == 0
    assert capsys.readouterr().out == "gr\\udcf6\\udcdfe.jpg\n"


def test_what_stood_alone_in_front_is_called_as_help_calls_it(capsys):
    def fail(options):
        raise FileNotFoundError(f"expected a folder, found nothing at {options.root}; check --root and --root.images")

    main = command("test", "Tests.", Options, fail, paths={"FOLDER": "--root"})
    assert main(["x"]) == main(["--root", "x"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("check FOLDER and --root.images")
    assert second.endswith("check --root and --root.images")


@dataclass(frozen=True, kw_only=True)
class Resumable:
    """Tests.

    Args:
        root: of the data.
        output: folder.
        resume: go on.
    """

    root: str
    output: str
    resume: bool = False


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("", "the same options and --resume"),
        ("root: x\n", "ofa-det test --config {file} --resume"),
        ("latency_cap_ms: 40\n", "the same options and --resume"),  # Of another command, as the quickstart's build.
    ],
)
def test_ctrl_c_is_status_130_and_tells_how_to_go_on(capsys, tmp_path, written, advice):
    def interrupt(options):
        raise KeyboardInterrupt

    main = command("test", "Tests.", Resumable, interrupt)
    file = tmp_path / "config.yaml"
    if written:
        file.write_text(written)
    assert main(["--root", "x", "--output", str(tmp_path)]) == 130
    expected = advice.format(file=file)
    separator = ": " if "--config" in expected else " "
    assert capsys.readouterr().err == f"ofa-det test: interrupted; go on with{separator}{expected}\n"


def test_a_command_for_one_process_is_refused_under_torchrun(capsys, torchrun):
    assert run_with("--root", "x") == (2, [])
    refusal = "expected one process, found 6 ranks; only train and search run under torchrun"
    assert capsys.readouterr().err == f"ofa-det test: error: {refusal}\n"
    assert run_with("--root", "x", ranks=True)[0] == 0
    assert main(["eval", "--model", "nowhere", "--data.root", "nowhere"]) == 2
    assert refusal in capsys.readouterr().err
    assert main(["train", "--data.root", "nowhere", "--accelerator", "cpu"]) == 2
    assert refusal not in capsys.readouterr().err
    torchrun.setenv("WORLD_SIZE", "1")
    assert run_with("--root", "x")[0] == 0


def test_of_several_ranks_the_first_tells_what_goes_on(capsys, torchrun):
    def tell(options):
        logging.getLogger("ofa_det.test").info("told")
        logging.getLogger("ofa_det.test").warning("warned")

    for rank, told in ((5, False), (0, True)):
        torchrun.setenv("RANK", str(rank))
        assert run_with("--root", "x", action=tell, ranks=True)[0] == 0
        error = capsys.readouterr().err
        assert ("INFO: told" in error, "WARNING: warned" in error) == (told, True)


def test_a_warning_is_shown_once_and_whoever_listens_hears_all(capsys, caplog):
    def tell(options):
        for _ in range(2):
            logging.getLogger("ofa_det.test").warning("%d broken images", 3)
            logging.getLogger("ofa_det.test").info("goes on")

    assert run_with("--root", "x", action=tell)[0] == 0
    shown = capsys.readouterr().err.splitlines()
    assert (shown.count("WARNING: 3 broken images"), shown.count("INFO: goes on")) == (1, 2)
    assert [record.getMessage() for record in caplog.records].count("3 broken images") == 2


def test_a_command_is_made_without_torch():
    script = "import sys, ofa_det.cli.command; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": str(TOOLS.parent)}, check=False)
    assert done.returncode == 0


def test_hyphens_and_underscores_mean_the_same():
    @dataclass(frozen=True, kw_only=True)
    class Cap:
        """A cap.

        Args:
            latency_cap_ms: of a network.
            per_op: of each op too.
        """

        latency_cap_ms: float = 0.0
        per_op: bool = False

    seen = []
    main = command("test", "Tests.", Cap, seen.append)
    assert main(["--latency-cap-ms", "-3.5", "--per-op"]) == main(["--latency_cap_ms=-3.5", "--per_op"]) == 0
    assert seen == [Cap(latency_cap_ms=-3.5, per_op=True)] * 2


def test_values_keep_their_hyphens():
    assert run_with("--root=a-b/c-d")[1][0].root == "a-b/c-d"
    assert run_with("--root", "-a-b")[1] == []  # As ever: argparse takes it for an option.


def test_one_json_object_instead_of_text(capsys):
    def run(options):
        logging.getLogger("ofa_det.test").info("told")
        return Printed(text="AP 50.0", values={"AP": 0.5, "APs": None})

    main = command("test", "Tests.", Options, run)
    assert main(["--root", "x"]) == 0
    assert capsys.readouterr().out == "AP 50.0\n"
    for words in (["--json"], ["--json", "true"], ["--json=true"]):
        assert main(["--root", "x", *words]) == 0
        assert json.loads(capsys.readouterr().out) == {"AP": 0.5, "APs": None}


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_what_failed_is_told_behind_what_was_found(capsys, words):
    def run(options):
        return Printed(text="FAIL size", values={"size": False}, failure="expected one, found two")

    assert command("test", "Tests.", Options, run)(["--root", "x", *words]) == 2
    shown = capsys.readouterr()
    assert shown.err == "ofa-det test: error: expected one, found two\n"
    assert json.loads(shown.out) == {"size": False} if words else shown.out == "FAIL size\n"


def test_all_that_is_printed_can_be_json():
    """No command prints by itself."""
    for path in (Path(ofa_det.__file__).parent / "cli").glob("*.py"):
        if path.name not in ("command.py", "main.py"):
            assert not re.search(r"\bprint\(", path.read_text()), path


def test_a_command_is_found_with_an_underscore_too(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["predict_latency", "--help"])
    assert exit_.value.code == 0
    assert "usage: ofa-det predict-latency " in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ofa-det {ofa_det.__version__}\n"
    with pytest.raises(SystemExit) as exit_:
        main(["predict-latency", "--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"ofa-det predict-latency {ofa_det.__version__}\n"


def test_a_tool_ends_with_one_line_and_status_2():
    words = [sys.executable, str(TOOLS / "predict_latency.py"), "--model", "nowhere"]
    done = subprocess.run(words, capture_output=True, text=True, env={"PYTHONPATH": str(TOOLS.parent)}, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("ofa-det predict-latency: error: expected a run folder")
