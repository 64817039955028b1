"""Shows what is in a data set, and what is wrong with it."""

from __future__ import annotations

from ofa_det.artefacts.records import record_content
from ofa_det.cli.command import Printed, command
from ofa_det.data.inspection import InspectConfig
from ofa_det.evaluation.inspection import inspect


def run(config: InspectConfig) -> Printed:
    """Inspects; gives what was found."""
    found = inspect(config)
    text = f"{found.table()}\nwrote {found.record_file} and {found.pictures_file}"
    return Printed(text=text, values=record_content(found.record))


main = command(
    "inspect",
    "Show what is in a data set, and what is wrong with it.",
    InspectConfig,
    run,
    paths={"DATA": "--data.root"},
)
