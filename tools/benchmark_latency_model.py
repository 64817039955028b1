"""Prints the leave-one-out tables of the fitted latency models as Markdown."""

import math

from ofa_det.latency.fitting import FittedLatencyModel
from ofa_det.latency.latencies import PRECISIONS
from ofa_det.latency.model import device_names, latency_model

for device in device_names():
    for precision in PRECISIONS:
        model = latency_model(device, precision=precision)
        if not isinstance(model, FittedLatencyModel):
            continue
        errors, timed = model.leave_one_out, model.leave_one_out.timed
        print(f"\n{device}, {precision}: {errors}\n")
        print("| network | runtime | published ms | network left out | family left out |\n|---|---|---|---|---|")
        for network, runtime, latency_ms, *left_out in zip(
            timed.networks, timed.runtimes, timed.latencies_ms, errors.by_network, errors.by_family, strict=True
        ):
            cells = " | ".join("-" if math.isnan(e) else f"{latency_ms * (1 + e):.1f} ({e:+.0%})" for e in left_out)
            print(f"| {network} | {runtime} | {latency_ms:g} | {cells} |")
