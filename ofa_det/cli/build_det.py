"""From a data set and latencies to the files, in one command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ofa_det.artefacts.build_record import BuildRecord
from ofa_det.artefacts.records import record_content
from ofa_det.building.config import BuildConfig
from ofa_det.building.progress import clock
from ofa_det.cli.command import Printed, command

if TYPE_CHECKING:
    from ofa_det.building.run import BuildResult


def run(config: BuildConfig) -> Printed:
    """Builds; gives what came out."""
    from ofa_det.building.run import build  # Seconds of libraries, which --help and a mistake should not wait for.

    return printed(build(config))


def printed(result: BuildResult) -> Printed:
    """The table of a build, and where its page is."""
    record = result.record
    return Printed(
        text=f"{table(record)}\n{clock(record.seconds)} in all; the page is {result.report}",
        values={**record_content(record), "report": str(result.report)},
    )


def table(record: BuildRecord) -> str:
    """The figures of every file, a line each."""
    lines = ["   cap   AP int8   float   predicted           at most   measured here      size   file"]
    for found in record.detectors:
        predicted = f"{found.latency_ms:.1f} ± {found.latency_error_ms:.1f} ms"
        lines.append(
            f"{found.latency_cap_ms:>4g} ms{100 * found.int8_ap:>8.1f}{100 * found.float_ap:>10.1f}   {predicted:<18}"
            f"{found.at_most_ms:>6.1f} ms{found.host_ms:>13.1f} ms{found.bytes / 1e6:>8.2f} MB   {found.model}"
        )
    lines.append(f"predicted for {record.detectors[0].runtime}, one thread; measured with one thread, whole file")
    return "\n".join(lines)


main = command(
    "build",
    "From a data set and latencies to one verified int8 file for each, with a page that tells what it rests on.",
    BuildConfig,
    run,
    presets="build",
    paths={"DATA": "--data.root"},
)
