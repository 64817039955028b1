"""Searches the subnet that fits a latency cap."""

from __future__ import annotations

from ofa_det.cli.command import command
from ofa_det.search.run import SearchConfig, search


def run(config: SearchConfig) -> None:
    """Searches, and prints what was found."""
    result = search(config)
    latency = result.latency
    print(f"{result.best.subnet}")
    print(
        f"AP {result.best.ap:.3f} on {result.holdout_images} held-out training images, {latency} on {latency.device} "
        f"({latency.precision}, {latency.runtime}, {latency.threads} thread), cap {config.latency_cap_ms:g} ms"
    )
    print(f"{len(result.evaluations)} subnets scored; written to {config.output}")


main = command("search", "Find the best subnet under a latency cap.", SearchConfig, run, presets="search")
