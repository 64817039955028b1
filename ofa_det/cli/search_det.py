"""Searches the subnets that fit latency caps."""

from __future__ import annotations

from ofa_det.cli.command import command
from ofa_det.models.launch import is_first_rank
from ofa_det.search.config import SearchConfig
from ofa_det.search.run import search


def run(config: SearchConfig) -> None:
    """Searches, and prints what was found."""
    result = search(config, progress=is_first_rank())
    if is_first_rank():
        print(result.summary())
        print(f"written to {config.output}")


main = command(
    "search", "Find the best subnet under one or several latency caps.", SearchConfig, run, presets="search", ranks=True
)
