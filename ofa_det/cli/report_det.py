"""Writes the page of a build or a search anew, from its artefacts."""

from __future__ import annotations

from ofa_det.cli.command import command
from ofa_det.cli.positional import with_path_first
from ofa_det.report.run import ReportConfig, report


def run(config: ReportConfig) -> None:
    """Writes the page, and prints where it is."""
    print(f"wrote {report(config)}")


main = with_path_first(
    command("report", "Write the page of a build or a search anew, from its artefacts.", ReportConfig, run), "--build"
)
