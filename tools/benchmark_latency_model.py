"""Prints, as Markdown, how the Pixel 2 model predicts published networks that it has not seen.

`--postprocessing` instead measures the law of post-processing on this computer, beside the one in the package.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import fields

from ofa_det.latency.calibration_device import Host
from ofa_det.latency.host import HostRuns
from ofa_det.latency.latencies import PRECISIONS
from ofa_det.latency.leaving_out import LeaveOneOut
from ofa_det.latency.pixel2 import errors_of_unseen_detectors, pixel2_errors, pixel2_runtimes
from ofa_det.latency.postprocessing import HOST_LAW
from ofa_det.latency.postprocessing_timing import measure_law, suppressions


def print_leave_one_out() -> None:
    """A summary for each precision and sort of network, then every row."""
    print("| precision | networks | network left out: mean | worst | family left out: mean | worst |")
    print("|---|---|---|---|---|---|")
    for precision in PRECISIONS:
        errors = pixel2_errors(precision)
        detectors = errors.timed.are_detectors
        groups = {"classifiers": errors.select(~detectors), "SSDLite detectors": errors.select(detectors)}
        groups |= {runtime: errors.select(~detectors).on(runtime) for runtime in pixel2_runtimes(precision)}
        for name, group in groups.items():
            if len(group.timed):
                figures = (group.network_mean, group.network_worst, group.family_mean, group.family_worst)
                cells = " | ".join("-" if math.isnan(figure) else f"{figure:.1%}" for figure in figures)
                print(f"| {precision} | {group.networks} {name} | {cells} |")
    unseen = errors_of_unseen_detectors()
    print(f"| float32 | {len(unseen)} SSDLite detectors, all left out | {abs(unseen).mean():.1%} | ", end="")
    print(f"{abs(unseen).max():.1%} | - | - |")
    for precision in PRECISIONS:
        print_rows(precision, pixel2_errors(precision))


def print_rows(precision: str, errors: LeaveOneOut) -> None:
    """Every published latency with its predictions by fits that have not seen it."""
    timed = errors.timed
    print(f"\n{precision}:\n")
    print("| network | runtime | published ms | network left out | family left out |\n|---|---|---|---|---|")
    for network, runtime, latency_ms, *left_out in zip(
        timed.networks, timed.runtimes, timed.latencies_ms, errors.by_network, errors.by_family, strict=True
    ):
        cells = " | ".join("-" if math.isnan(e) else f"{latency_ms * (1 + e):.1f} ({e:+.0%})" for e in left_out)
        print(f"| {network} | {runtime} | {latency_ms:.4g} | {cells} |")


def print_postprocessing() -> None:
    """The rates of this computer, and how far each timed call is from the fitted law."""
    times: dict[str, float] = {}

    def timed(name: str, measure: Callable[[], float]) -> float:
        times[name] = measure()
        return times[name]

    law = measure_law(Host(runs=HostRuns(xnnpack=False, clock="cpu", runs=25)), timed)
    print("| ms per million | here | in the package |\n|---|---|---|")
    rates = [field.name for field in fields(HOST_LAW) if field.type == "float"]
    for name in rates:
        print(f"| {name} | {getattr(law, name):.3g} | {getattr(HOST_LAW, name):.3g} |")
    print("\n| NMS | anchors | classes | candidates | ms | law | error |\n|---|---|---|---|---|---|---|")
    calls = [name for name in times if name.startswith(("regular", "fast"))]
    for name, (suppression, _) in zip(calls, suppressions(), strict=True):
        predicted = law.suppression_ms(suppression)
        cells = " | ".join(name.split())
        print(f"| {cells} | {times[name]:.3f} | {predicted:.3f} | {predicted / times[name] - 1:+.0%} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postprocessing", action="store_true", help="measure the post-processing op on this computer")
    if parser.parse_args().postprocessing:
        print_postprocessing()
    else:
        print_leave_one_out()
