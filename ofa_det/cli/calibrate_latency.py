"""`ofa-det calibrate-latency`: a latency table of a device, measured."""

from __future__ import annotations

from ofa_det.cli.command import command
from ofa_det.latency.calibrate import CalibrateLatencyConfig, calibrate_latency


def run(config: CalibrateLatencyConfig) -> None:
    """Measures, fits, and prints how good the table is."""
    found = calibrate_latency(config)
    table = found.table
    threads = f"{table.threads} thread{'s' if table.threads > 1 else ''}"
    clock = "" if table.clock == "wall" else ", processor time"
    print(f"{table.device}, {table.runtime}, {table.precision}, {threads}{clock}")
    print(f"fitted to {table.networks} subnets of {table.space}; {table.held_out}")
    print("cost of each feature:")
    for name, cost in zip(table.features, table.costs, strict=True):
        print(f"  {cost:10.4g} ms  {name}")
    print("held-out subnets, measured and predicted ms:")
    for subnet in (subnet for subnet in found.subnets if subnet.held_out):
        error = subnet.predicted_ms / subnet.measured_ms - 1
        print(f"  {subnet.measured_ms:8.2f}  {subnet.predicted_ms:8.2f}  {error:+6.1%}  {subnet.subnet}")
    print(f"--device {found.path} predicts with it, and searches on it")


main = command("calibrate-latency", "A latency table of a device, measured.", CalibrateLatencyConfig, run)
