"""Searches the subnet that fits a latency cap."""

from __future__ import annotations

from ofa_det.cli.command import Printed, command
from ofa_det.search.run import SearchConfig, search


def run(config: SearchConfig) -> Printed:
    """Searches; gives what was found."""
    result = search(config)
    latency = result.latency
    lines = [
        f"{result.best.subnet}",
        f"AP {100 * result.best.ap:.1f} on {result.holdout_images} held-out training images, {latency} on "
        f"{latency.device} ({latency.precision}, {latency.runtime}, {latency.threads} thread), cap "
        f"{config.latency_cap_ms:g} ms",
        f"{len(result.evaluations)} subnets scored; written to {config.output}",
    ]
    values = {
        "subnet": str(result.best.subnet),
        "AP": result.best.ap,
        "images": result.holdout_images,
        "latency_cap_ms": config.latency_cap_ms,
        "latency": latency.to_json(),
        "subnets_scored": len(result.evaluations),
        "output": config.output,
    }
    return Printed(text="\n".join(lines), values=values)


main = command(
    "search",
    "Find the best subnet under a latency cap.",
    SearchConfig,
    run,
    presets="search",
    numbered=True,
    offers_json=True,
)
