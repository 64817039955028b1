"""What SIGKILL at random moments leaves of build, search and label, and what memory and time each command takes.

The commands run as users run them, in processes of their own. What hostile inputs get is a table of the tests:
`pytest tests/test_hostile_inputs.py --hostile_table FILE`.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ofa_det.artefacts.locks import LOCK_FILE
from ofa_det.cli.command import command
from ofa_det.data.generated import generate_dataset
from ofa_det.data.splits import DataConfig

CAP_MS = 22
PARTS_OF_A_RUN = 3
"""A run is let alone for up to this part of a whole one before it is killed, so that some kills fall into each."""


@dataclass(frozen=True, kw_only=True)
class RobustnessConfig:
    """What to measure.

    Args:
        part: kills, or memory.
        kills: of each command.
        data: of memory: a data set in COCO layout.
        images: of memory: that each training draws.
        seed: of the moments of the kills.
        output: folder of all that the commands write; it must not exist.
    """

    part: Literal["kills", "memory"]
    kills: int = 8
    data: DataConfig = field(default_factory=lambda: DataConfig(root="DATA"))
    images: int = 320
    seed: int = 0
    output: str = "runs/robustness"

    def __post_init__(self) -> None:
        if self.kills < 1 or self.images < 32:
            raise ValueError(f"expected kills >= 1 and images >= 32, found {self.kills} and {self.images}")
        if Path(self.output).exists():
            raise ValueError(f"expected no {self.output}, found one; choose another --output")


def run(config: RobustnessConfig) -> None:
    """Measures, and prints a table."""
    if config.part == "kills":
        print_kills(config)
    else:
        print_memory(config)


def ofa_det(*words: object) -> list[str]:
    """A command, as words to be run."""
    return [sys.executable, "-m", "ofa_det.cli.main", *map(str, words)]


def started(words: Sequence[str]) -> subprocess.Popen[str]:
    """A process whose errors are kept."""
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # noqa: S603 - ours


# --- kills -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Killed:
    """A command to be killed.

    Args:
        name: of the command.
        words: its words for an output folder, with --resume.
        results: patterns of the files that have to be the same, within the output folder.
        reached: how far it is, by what is in the folder.
    """

    name: str
    words: Callable[[Path], list[str]]
    results: tuple[str, ...]
    reached: Callable[[Path], str]


def print_kills(config: RobustnessConfig) -> None:
    """Kills each command again and again, lets it end, and compares with a run that nobody disturbed."""
    root = Path(config.output)
    rng = random.Random(config.seed)
    print("| command | kills | runs that ended after them | where they hit | files compared | same bytes |")
    print("|---|---|---|---|---|---|")
    for killed in _killed(root):
        began = time.monotonic()
        whole = root / f"{killed.name}_whole"
        kills_of_one_run(killed, whole, rng, at_most_s=0, most=0)
        whole_s = time.monotonic() - began
        expected, hits, same = results(killed, whole), [], []
        while len(hits) < config.kills:
            folder = root / f"{killed.name}_{len(same)}"
            left = config.kills - len(hits)
            hits += kills_of_one_run(killed, folder, rng, at_most_s=whole_s / PARTS_OF_A_RUN, most=left)
            same.append(results(killed, folder) == expected)
        where = ", ".join(f"{stage} {count}" for stage, count in Counter(hits).items())
        answer = "yes" if all(same) else f"no, in {same.count(False)} runs"
        print(f"| `{killed.name}` | {len(hits)} | {len(same)} | {where} | {len(expected)} | {answer} |", flush=True)


def kills_of_one_run(killed: Killed, folder: Path, rng: random.Random, *, at_most_s: float, most: int) -> list[str]:
    """Runs a command until it ends by itself, killing it at random moments of its work before.

    Args:
        killed: the command.
        folder: of its output.
        rng: of the moments.
        at_most_s: for which it is let alone.
        most: kills.

    Returns:
        Where each kill hit.
    """
    hits: list[str] = []
    while True:
        process = started(killed.words(folder))
        while process.poll() is None and not is_at_work(process.pid, folder):
            time.sleep(0.01)
        try:
            _, error = process.communicate(timeout=rng.uniform(0, at_most_s) if len(hits) < most else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            hits.append(killed.reached(folder))
            print(f"killed {killed.name} at {hits[-1]}", file=sys.stderr, flush=True)
            continue
        if process.returncode:
            raise ValueError(f"expected {killed.name} to go on after {hits}, found {error}")
        return hits


def is_at_work(pid: int, folder: Path) -> bool:
    """Whether the process has begun to write the folder: before that there is nothing to interrupt."""
    lock = folder / LOCK_FILE
    return lock.is_file() and lock.read_bytes() == str(pid).encode()


def results(killed: Killed, folder: Path) -> dict[str, bytes]:
    """The files that have to be the same."""
    found = {str(path.relative_to(folder)): path for pattern in killed.results for path in folder.glob(pattern)}
    assert found, folder
    return {name: path.read_bytes() for name, path in sorted(found.items())}


def _killed(root: Path) -> Iterator[Killed]:
    """On generated images; search and label go on from the supernet and a detector of the undisturbed build."""
    few = generate_dataset(root / "few", num_train=24, num_val=8, image_size=(96, 128))
    yield Killed(
        name="build",
        words=lambda folder: [*small_build(few), "--output", str(folder), "--resume"],
        results=(
            "supernet/model.safetensors",
            "search/subnet*.json",
            "detector_*/model.safetensors",
            "export_*/model.tflite",
            "evaluation_*/detections.json",
        ),
        reached=stage_at_work,
    )

    def search(folder: Path) -> list[str]:
        supernet = folder.with_name(f"{folder.name}_supernet")
        if not supernet.exists():  # What was measured is kept there, and would be known before the first kill.
            kept_out = shutil.ignore_patterns("measured_ap")
            shutil.copytree(root / "build_whole/supernet", supernet, ignore=kept_out)
        words = ofa_det("search", "--config", "quickstart", "--supernet", supernet, "--data.root", few)
        return [*words, "--output", str(folder), "--resume"]

    yield Killed(
        name="search",
        words=search,
        results=("evaluations.jsonl", "subnet.json", "search.json", "pareto.csv"),
        reached=lambda folder: f"subnet {count_lines(folder / 'evaluations.jsonl')}",
    )
    many = generate_dataset(root / "many", num_train=960, num_val=8, image_size=(96, 128))
    teacher = root / f"build_whole/detector_{CAP_MS}ms"
    yield Killed(
        name="label",
        words=lambda folder: ofa_det(
            "label", "--teacher", teacher, "--data.root", many, "--threads=1", "--output", folder, "--resume"
        ),
        results=("teacher_labels.safetensors",),
        reached=lambda folder: f"part {len(list(folder.glob('shards/*'))) + 1}",
    )


def small_build(data: Path) -> list[str]:
    """A build with all stages, without its folder."""
    lengths = ["--supernet_images=64", "--finetune_images=64", "--search_subnets=4", "--resolutions=[160]"]
    cap = f"--latency_cap_ms={CAP_MS}"
    return ofa_det("build", data, "--config", "quickstart", cap, *lengths, "--least_ap=0")


def stage_at_work(folder: Path) -> str:
    """The stage of a build whose configuration was written last."""
    configs = sorted(folder.glob("configs/*.yaml"), key=lambda path: path.stat().st_mtime_ns)
    if not configs:
        return "before the first stage"
    stage = configs[-1].stem
    finished = f'"stage": "{stage}"' in (folder / "build.jsonl").read_text()
    return f"behind {stage}" if finished else stage


def count_lines(path: Path) -> int:
    """Whole lines of a file that may not be there yet."""
    return path.read_bytes().count(b"\n") if path.is_file() else 0


# --- memory ----------------------------------------------------------------------------------------------------------


def print_memory(config: RobustnessConfig) -> None:
    """Runs each command once; the largest of its processes counts, since shared pages would count twice in a sum."""
    print("| command | peak resident MB | s |")
    print("|---|---|---|")
    for words in _commands(config):
        took_s, peak_mb = measured(words)
        print(f"| `{words[3]}` | {peak_mb:.0f} | {took_s:.0f} |", flush=True)


def measured(words: Sequence[str]) -> tuple[float, float]:
    """Seconds of the wall and greatest resident memory of the largest process, in 10^6 bytes."""
    began = time.monotonic()
    process = started(words)
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(f"expected {' '.join(words)} to end well, found {told[-2000:]}")
    return time.monotonic() - began, usage.ru_maxrss * 1024 / 1e6


def _commands(config: RobustnessConfig) -> Iterator[list[str]]:
    """The commands that need no phone and no file from elsewhere, most of them on what those before them wrote."""
    root, output = Path(config.data.root), Path(config.output)
    data = ["--data.root", root]
    supernet, found, detector, exported = (output / name for name in ("supernet", "search", "detector", "export"))
    length = [f"--schedule.num_images={config.images}", f"--schedule.warmup_images={config.images // 4}"]
    model = ["--model", exported / "model.tflite"]
    searched = ["--max_evaluations=16", "--linas.first=8", "--baselines=false", "--latency_cap_ms=60"]
    subnet = ["--supernet", supernet, "--subnet", found / "subnet.json"]
    yield ofa_det("convert", root, "--to", "yolo", "--output", output / "yolo")
    yield ofa_det("inspect", root, "--output", output / "inspection")
    yield ofa_det("fit-anchors", *data, "--output", output / "anchors")
    train = ["train", *data, *length]
    yield ofa_det(*train, "--config", "small_data", "--data.holdout_fraction=0.15", "--output", supernet)
    yield ofa_det("search", "--config", "pixel2", *data, "--supernet", supernet, *searched, "--output", found)
    yield ofa_det(*train, "--config", "finetune", *subnet, "--output", detector)
    yield ofa_det("export", "--model", detector, *data, "--ap_tolerance=1", "--output", exported)
    yield ofa_det("eval", *model, *data, "--output", output / "evaluation")
    yield ofa_det("compare", detector, exported / "model.tflite", *data, "--output", output / "comparison")
    yield ofa_det("detect", root / "val2017", *model, "--output", output / "pictures")
    yield ofa_det("label", "--teacher", detector, *data, "--output", output / "labels")
    yield ofa_det("predict-latency", *model)
    yield ofa_det("measure-latency", *model)
    yield ofa_det("validate-submission", exported / "model.tflite", *data)
    package = ["--name", "memory", "--ap_tolerance=1", "--least_ap=0", "--output", output / "submissions"]
    yield ofa_det("package", *model, *data, *package)
    few = generate_dataset(output / "few", num_train=24, num_val=8, image_size=(96, 128))
    yield [*small_build(few), "--output", str(output / "build")]
    yield ofa_det("report", output / "build")


main = command("benchmark-robustness", __doc__.split("\n")[0], RobustnessConfig, run)

if __name__ == "__main__":
    raise SystemExit(main())
