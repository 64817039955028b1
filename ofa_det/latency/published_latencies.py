"""The published latencies of classification networks on a Pixel 2, as the package carries them."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

import numpy as np

from ofa_det.latency.features import network_features
from ofa_det.latency.fitting import TimedNetworks
from ofa_det.latency.precision import Precision
from ofa_det.latency.published_networks import PUBLISHED_NETWORKS


@cache
def pixel2_published(precision: Precision) -> TimedNetworks:
    """Latencies on one thread on a large core of a Pixel 2 (Snapdragon 835), batch 1.

    `runtime` says which TensorFlow Lite was timed: `tflite-2018` and `tflite-2019` its hosted models and benchmark
    pages, `tflite-2019-v3` what the MobileNetV3 authors used, `xnnpack-2020` XNNPACK alone in March 2020. The
    once-for-all authors name no runtime; their figures fit `tflite-2019-v3` within 5 % and stand there.
    `tflite-2018-early` is a single uint8 figure, of MobileNetV2, half as slow again as the pages that followed; as a
    runtime of its own it has no say in the costs.
    """
    with resources.files("ofa_det.latency").joinpath("pixel2_published.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row[f"{precision}_ms"]]
    return TimedNetworks(
        features=np.array([network_features(PUBLISHED_NETWORKS[row["network"]]().layers) for row in rows]),
        latencies_ms=np.array([float(row[f"{precision}_ms"]) for row in rows]),
        runtimes=tuple(row["runtime"] for row in rows),
        networks=tuple(row["network"] for row in rows),
        families=tuple(row["family"] for row in rows),
    )
