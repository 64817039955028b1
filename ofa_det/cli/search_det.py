"""Searches the subnets that fit latency caps."""

from __future__ import annotations

from ofa_det.cli.command import Printed, command
from ofa_det.models.launch import is_first_rank
from ofa_det.report.run import ReportConfig, report
from ofa_det.search.config import SearchConfig
from ofa_det.search.run import search


def run(config: SearchConfig) -> Printed | None:
    """Searches; gives what was found."""
    result = search(config, progress=is_first_rank())
    if not is_first_rank():
        return None
    page = report(ReportConfig(build=config.output))
    found = [
        {
            "latency_cap_ms": choice.cap_ms,
            "subnet": str(choice.best.subnet),
            "AP": choice.rescored.ap,
            "AP_error": choice.rescored.error,
            "latency": latency.to_json(),
            "at_most_ms": choice.best.at_most_ms,
            "within_noise_of_largest": choice.within_noise,
        }
        for choice, latency in zip(result.choices, result.latencies, strict=True)
    ]
    values = {
        "choices": found,
        "images": result.rescore_images,
        "subnets_scored": len(result.evaluations),
        "output": config.output,
        "page": str(page),
    }
    return Printed(text=f"{result.summary()}\nwritten to {config.output}", values=values)


main = command(
    "search",
    "Find the best subnet under one or several latency caps.",
    SearchConfig,
    run,
    presets="search",
    ranks=True,
    numbered=True,
)
