"""What tests of a search share: its config's makers, and how it is run and read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ofa_det.arch.description import PostProcessConfig
from ofa_det.search.config import SearchConfig
from ofa_det.search.linas import LinasConfig
from ofa_det.search.nsga2 import NsgaConfig
from ofa_det.search.report import SearchResult
from ofa_det.search.run import search

RESULT_FILES = ("evaluations.jsonl", "subnet.json", "search.json", "pareto.csv", "pareto.png", "search_curve.png")
CAP_MS = 9.0
POSTPROCESS = PostProcessConfig(score_threshold=0.001, max_detections=7)
FAST_LINAS = LinasConfig(first=4, batch=3, nsga=NsgaConfig(population=20, generations=3))

SaveSupernet = Callable[..., Path]
NewConfig = Callable[..., SearchConfig]


def run(config: SearchConfig) -> SearchResult:
    return search(config, progress=False)


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULT_FILES}
