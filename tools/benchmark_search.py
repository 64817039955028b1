"""Speed of a search, fronts by strategy against measurements used, quality of its score, subnets under caps.

python tools/benchmark_search.py speed --supernet runs/supernet --data.root DATA
python tools/benchmark_search.py strategies --config pixel2 --supernet runs/supernet --data.root DATA \
    --latency_cap_ms '[40, 80]' --max_evaluations 64 --output runs/benchmark_search --resume
python tools/benchmark_search.py proxy --supernet runs/supernet --data.root DATA --output runs/benchmark_proxy
python tools/benchmark_search.py caps --output runs/benchmark_caps

`speed` tells how many candidates are visited in a second on one core (plans turned into a table, costs and predicted AP
included), and how many are measured in a minute by one process and by two. `strategies` runs every strategy on the same
supernet, which keeps what is measured, and draws the mean of the best AP under the caps against the subnets measured;
with `--resume` it goes on after an interruption. `proxy` and `caps` are told of in benchmark_proxy.py and
benchmark_caps.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from benchmark_caps import CapsConfig, caps
from benchmark_proxy import ProxyConfig, proxy
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ofa_det.artefacts.evaluations import EVALUATIONS_FILE
from ofa_det.artefacts.model_file import read_description
from ofa_det.cli.command import command
from ofa_det.data.splits import DataConfig
from ofa_det.latency.pixel2 import pixel2_model
from ofa_det.search.config import SearchConfig
from ofa_det.search.costs import MACS, exact_costs
from ofa_det.search.nsga2 import NsgaConfig, explore
from ofa_det.search.predictor import ApPredictor, Pretraining
from ofa_det.search.problem import SearchProblem
from ofa_det.search.run import search

VISIT_S = 5.0
STRATEGIES = ("random", "evolution", "linas")


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """How fast candidates are visited and measured.

    Args:
        supernet: run folder of a supernet.
        data: the data set it was trained on.
        measured: subnets that each number of processes measures; 0 leaves that out.
        calibration_images: training images for the statistics of each.
    """

    supernet: str
    data: DataConfig
    measured: int = 12
    calibration_images: int = 64


def speed(config: SpeedConfig) -> None:
    """Prints candidates visited in a second, and measured in a minute."""
    problem = _problem(config.supernet)
    began = time.process_time()
    genes = problem.coding.sample(np.random.default_rng(0), 64)
    costs = problem.table(genes)
    # Any AP will do: how long a prediction takes does not depend on it.
    predictor = ApPredictor.fit(Pretraining(problem, seed=0), genes, costs, np.log(costs[:, MACS]))
    made_s, began = time.process_time() - began, time.process_time()
    visited, generations = 0, NsgaConfig(population=500, generations=50)
    while (took_s := time.process_time() - began) < VISIT_S:
        visited += len(explore(problem, predictor, genes, config=generations, rng=np.random.default_rng(visited)))
    print(f"{visited} distinct candidates visited in {took_s:.2f} s of one core: {visited / took_s:.0f} in a second")
    print(f"once before, cost table, pretraining and fit: {made_s:.2f} s")
    if config.measured:
        for ranks in (1, 2):
            print(f"{_measured_per_minute(config, ranks):.1f} candidates measured in a minute by {ranks} process(es)")


def strategies(config: SearchConfig) -> None:
    """Runs every strategy with the same budget, prints and draws what it finds."""
    if 2 * config.evolution.population > config.max_evaluations:
        population = max(2, config.max_evaluations // 4)
        print(f"evolution has a population of {population}: a quarter of the budget")
        config = replace(config, evolution=replace(config.evolution, population=population))
    curves: dict[str, list[float]] = {}
    for name in STRATEGIES:
        result = search(replace(config, strategy=name, output=f"{config.output}/{name}"))
        told = [e for e in result.evaluations if e.subnet not in result.roles]
        under = [[e.ap if e.at_most_ms <= cap else 0.0 for e in told] for cap in config.caps_ms]
        curves[name] = np.maximum.accumulate(np.array(under), axis=1).mean(axis=0).tolist()
        print(f"\n{name}\n{result.summary()}\n")
    control = float(np.mean([choice.control.ap for choice in result.choices]))
    print(f"mean over the caps of the best AP in the search; largest under each cap: {control:.4f}")
    counts = [count for count in (8, 16, 24, 32, 48, 64, 96, 128, 192, 256) if count <= config.max_evaluations]
    print("subnets measured  " + "  ".join(f"{count:6d}" for count in counts))
    for name, curve in curves.items():
        shown = (f"{curve[count - 1]:.4f}" if count <= len(curve) else "     -" for count in counts)
        print(f"{name:<16}  " + "  ".join(shown))
    print("\n".join(reached(curves)))
    path = Path(config.output) / "strategies.png"
    _draw(curves, control, path)
    print(f"wrote {path}")


def reached(curves: Mapping[str, Sequence[float]]) -> list[str]:
    """How many subnets every other strategy needs for what random search ends with."""
    wanted, lines = curves["random"][-1], []
    for name, curve in curves.items():
        if name != "random":
            needed = next((count for count, best in enumerate(curve, start=1) if best >= wanted), None)
            told = "does not reach it" if needed is None else f"reaches it with {needed}"
            lines.append(f"random search ends at {wanted:.4f} after {len(curves['random'])} subnets; {name} {told}")
    return lines


def _draw(curves: dict[str, list[float]], control: float, path: Path) -> None:
    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, curve in curves.items():
        axes.plot(range(1, len(curve) + 1), curve, drawstyle="steps-post", label=name)
    axes.axhline(control, color="0.4", linestyle=":", label="largest under each cap")
    axes.set_xlabel("subnets measured")
    axes.set_ylabel("best AP so far, mean over the caps")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path)


def _problem(supernet: str) -> SearchProblem:
    """Of a supernet on a Pixel 2, under three caps between its smallest and its largest subnet."""
    description = read_description(supernet)
    costs_of = exact_costs(description, pixel2_model("uint8"), safety=1.0)
    space = description.detector.space
    low, high = costs_of(space.smallest()).at_most_ms, costs_of(space.largest()).at_most_ms
    caps = tuple(low + (high - low) * part for part in (0.2, 0.4, 0.7))
    return SearchProblem(space=space, costs_of=costs_of, caps_ms=caps)


def _measured_per_minute(config: SpeedConfig, ranks: int) -> float:
    """By a random search of the processes, from its first measurement to its last, of a supernet nobody measured."""
    with TemporaryDirectory() as folder:
        supernet, output = Path(folder, "supernet"), Path(folder, "search")
        supernet.mkdir()
        for path in Path(config.supernet).glob("*"):
            if path.name in ("model.safetensors", "config.yaml"):
                (supernet / path.name).symlink_to(path.resolve())
        words = [
            *("--supernet", supernet, "--data.root", config.data.root, "--latency_cap_ms", 1e6, "--strategy", "random"),
            *("--max_evaluations", config.measured + ranks, "--calibration_images", config.calibration_images),
            *("--baselines", "false", "--rescore.candidates", 1, "--rescore.share", 0, "--output", output),
        ]
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(ranks)] if ranks > 1 else []
        tool = Path(__file__).with_name("search_det.py")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(  # noqa: S603 - our own tool.
            [sys.executable, *launcher, str(tool), *map(str, words)], env=environment, stderr=subprocess.DEVNULL
        )
        first_s, first = 0.0, 0
        while True:  # The header of the file, and the first round of every rank, are not counted.
            lines = _lines(output / EVALUATIONS_FILE)
            if first == 0 and lines > 1 + ranks:
                first, first_s = lines, time.monotonic()
            if lines >= 1 + config.measured + ranks or process.poll() is not None:
                break
            time.sleep(0.05)
        took_s = time.monotonic() - first_s
        process.terminate()
        process.wait()
    if lines <= first or first == 0:
        raise ValueError(f"expected {config.measured} measured subnets, found {lines}; run the search by itself")
    return 60 * (lines - first) / took_s


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark that the first word names."""
    words = list(sys.argv[1:] if argv is None else argv)
    benchmarks = {
        "speed": command("speed", "How fast candidates are visited and measured.", SpeedConfig, speed),
        "strategies": command("strategies", "Fronts by strategy.", SearchConfig, strategies, presets="search"),
        "proxy": command("proxy", "How well the search's score ranks subnets.", ProxyConfig, proxy),
        "caps": command("caps", "Largest subnets under caps, by space.", CapsConfig, caps),
    }
    if not words or words[0] not in benchmarks:
        print(f"expected one of {', '.join(benchmarks)}, found {json.dumps(words[:1])}", file=sys.stderr)
        return 2
    return benchmarks[words[0]](words[1:])


if __name__ == "__main__":
    raise SystemExit(main())
