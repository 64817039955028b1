"""Two processes on gloo score candidates together: the same result as one, each subnet measured once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from saved_supernets import write_supernet

from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.space import SearchSpace
from ofa_det.data.generated import CATEGORIES
from ofa_det.data.splits import DataConfig, open_split

pytestmark = pytest.mark.slow

SEARCH = """
import os
import sys

from ofa_det.evaluation.subnets import SubnetScorer

original = SubnetScorer.ap


def counted(scorer, network, subnet):
    with open(f"{sys.argv[1]}.{os.environ.get('RANK', '0')}", "a") as file:
        file.write(f"{subnet}\\n")
    return original(scorer, network, subnet)


SubnetScorer.ap = counted
from ofa_det.cli.search_det import main

raise SystemExit(main(sys.argv[2:]))
"""


@pytest.fixture
def supernet(tiny_root: Path, tiny_space: SearchSpace, tmp_path: Path) -> Path:
    fit = open_split(DataConfig(root=str(tiny_root), holdout_fraction=0.5), "fit")
    torch.manual_seed(0)
    description = ModelDescription(
        detector=DetectorConfig.of(tiny_space, num_classes=len(CATEGORIES), anchor_sizes=ssd_anchor_sizes()),
        subnet=None,
        categories=CATEGORIES,
        postprocess=PostProcessConfig(score_threshold=0.001),
        holdout_fraction=0.5,
        training_images=fit.fingerprint(),
    )
    write_supernet(tmp_path / "supernet", description)
    return tmp_path / "supernet"


def search(log: Path, *words: str, ranks: int) -> subprocess.CompletedProcess[str]:
    script = log.with_suffix(".py")
    script.write_text(SEARCH)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)] if ranks > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, *launcher, str(script), str(log), *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)


def test_two_processes_find_what_one_finds(supernet: Path, tiny_root: Path, tmp_path: Path) -> None:
    words = [
        *("--supernet", str(supernet), "--data.root", str(tiny_root), "--latency_cap_ms", "[9, 12]"),
        *("--max_evaluations", "9", "--calibration_images", "4", "--rescore.calibration_images", "6"),
        *("--linas.first", "5", "--linas.batch", "4", "--rescore.resamples", "5"),
    ]
    done = [search(tmp_path / "two", *words, "--output", str(tmp_path / "a"), ranks=2)]
    for path in (supernet / "measured_ap").iterdir():
        path.unlink()
    done.append(search(tmp_path / "one", *words, "--output", str(tmp_path / "b"), ranks=1))
    assert [process.returncode for process in done] == [0, 0], done[0].stderr + done[1].stderr
    for name in ("search.json", "pareto.csv", "evaluations.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    measured = [(tmp_path / f"two.{rank}").read_text().splitlines() for rank in (0, 1)]
    assert min(map(len, measured)) >= 5
    alone = (tmp_path / "one.0").read_text().splitlines()
    assert sorted(measured[0] + measured[1]) == sorted(alone)
    assert done[0].stdout.count("written to") == 1
    assert json.loads((tmp_path / "a/search.json").read_text())["evaluations"] == len(alone)


def test_a_mistake_ends_every_process(supernet: Path, tiny_root: Path, tmp_path: Path) -> None:
    words = ["--supernet", str(supernet), "--data.root", str(tiny_root), "--latency_cap_ms", "0.5"]
    done = search(tmp_path / "two", *words, "--output", str(tmp_path / "a"), ranks=2)
    assert done.returncode != 0
    assert "expected a latency cap of at least" in done.stderr
    assert not (tmp_path / "a").exists()
