"""`ofa-det calibrate-latency`: a latency table of a device, measured."""

from __future__ import annotations

from collections.abc import Iterator

from ofa_det.artefacts.records import record_content, to_plain
from ofa_det.cli.command import Printed, command
from ofa_det.latency.calibrate import CalibrateLatencyConfig, Calibration, calibrate_latency


def run(config: CalibrateLatencyConfig) -> Printed:
    """Measures and fits; gives how good the table is."""
    found = calibrate_latency(config)
    values = {
        "path": str(found.path),
        "table": record_content(found.table),
        "subnets": [to_plain(subnet) | {"subnet": str(subnet.subnet)} for subnet in found.subnets],
    }
    return Printed(text="\n".join(_lines(found)), values=values)


def _lines(found: Calibration) -> Iterator[str]:
    table = found.table
    threads = f"{table.threads} thread{'s' if table.threads > 1 else ''}"
    clock = "" if table.clock == "wall" else ", processor time"
    yield f"{table.device}, {table.runtime}, {table.precision}, {threads}{clock}"
    yield f"fitted to {table.networks} subnets of {table.space}; {table.held_out}"
    yield "cost of each feature:"
    for name, cost in zip(table.features, table.costs, strict=True):
        yield f"  {cost:10.4g} ms  {name}"
    yield "held-out subnets, measured and predicted ms:"
    for subnet in (subnet for subnet in found.subnets if subnet.held_out):
        error = subnet.predicted_ms / subnet.measured_ms - 1
        yield f"  {subnet.measured_ms:8.2f}  {subnet.predicted_ms:8.2f}  {error:+6.1%}  {subnet.subnet}"
    yield f"--device {found.path} predicts with it, and searches on it"


main = command("calibrate-latency", "A latency table of a device, measured.", CalibrateLatencyConfig, run)
