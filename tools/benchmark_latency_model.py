"""Prints the leave-one-out table of the Pixel 2 latency model as Markdown."""

import math

from ofa_det.latency.model import pixel2_errors, pixel2_model
from ofa_det.latency.precision import PRECISIONS
from ofa_det.latency.published_latencies import pixel2_published

for precision in PRECISIONS:
    timed, error = pixel2_published(precision), pixel2_model(precision).leave_one_out
    print(f"\n{precision}, left out: network {error.network_mean:.1%} mean, {error.network_worst:.1%} worst;", end=" ")
    print(f"family {error.family_mean:.1%} mean, {error.family_worst:.1%} worst, {error.family_rms:.1%} RMS\n")
    print("| network | runtime | published ms | network left out | family left out |\n|---|---|---|---|---|")
    for network, runtime, latency_ms, *errors in zip(
        timed.networks, timed.runtimes, timed.latencies_ms, *pixel2_errors(precision), strict=True
    ):
        cells = " | ".join("-" if math.isnan(e) else f"{latency_ms * (1 + e):.1f} ({e:+.0%})" for e in errors)
        print(f"| {network} | {runtime} | {latency_ms:g} | {cells} |")
