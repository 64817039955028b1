"""Writes the page of a build or a search anew, from its artefacts."""

from __future__ import annotations

from ofa_det.cli.command import Printed, command
from ofa_det.report.run import ReportConfig, report


def run(config: ReportConfig) -> Printed:
    """Writes the page; gives where it is."""
    page = str(report(config))
    return Printed(text=f"wrote {page}", values={"report": page})


main = command(
    "report",
    "Write the page of a build or a search anew, from its artefacts.",
    ReportConfig,
    run,
    paths={"FOLDER": "--build"},
)
