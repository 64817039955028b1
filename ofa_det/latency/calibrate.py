"""From a search space to a measured latency table of a device: design, measure, fit, check on subnets left out.

No training is needed: a subnet is measured as the file that it would become, with random weights. What post-processing
costs is measured apart, on the op alone, since random weights say nothing of how many candidates it gets.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr
from tqdm import tqdm

from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.plan import LayerPlan
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.ledger import Ledger
from ofa_det.artefacts.model_file import read_description
from ofa_det.artefacts.records import write_record
from ofa_det.latency.calibrated_range import CalibratedRange
from ofa_det.latency.calibrated_table import TABLE_FILE, CalibratedTable, HeldOut
from ofa_det.latency.calibration_device import CalibrationDevice, open_device
from ofa_det.latency.features import FEATURES, POSTPROCESSING, FloatArray, network_features
from ofa_det.latency.fitting import CostPrior, FittedCosts, TimedNetworks, fit
from ofa_det.latency.host import Clock
from ofa_det.latency.latencies import Precision
from ofa_det.latency.op_files import detector_file
from ofa_det.latency.postprocessing import PostprocessingLaw, detection_tail
from ofa_det.latency.postprocessing_timing import measure_law

MEASUREMENTS_FILE: Final = "measurements.jsonl"
# In the measured detectors no score is a candidate: what candidates cost is the law's to say.
_NO_CANDIDATES: Final = PostProcessConfig(score_threshold=1.0)
_CANDIDATES_OF_DESIGN: Final = 8
# Orders of magnitude for any core, as the Pixel 2's float32; the fit scales them first.
_PRIOR_COSTS: Final = (0.125, 1.5, 0.15, 0.2, 0.2, 0.2, 0.8, 0.7, 0.7, 0.5, 0.01, 1.0)
_PRIOR_SIGMA: Final = 1.5


@dataclass(frozen=True, kw_only=True)
class CalibrateLatencyConfig:
    """Measurement of a latency table on a device.

    Args:
        space: search space to be measured, a YAML file or the name of one that is shipped.
        supernet: run folder whose space, anchors and classes are measured instead.
        num_classes: score columns of the detectors, with --space.
        device: host (this computer, by LiteRT) or adb (a phone, by TensorFlow Lite's benchmark_model).
        precision: of the networks, uint8 or float32.
        networks: subnets that the costs are fitted to.
        held_out: random subnets outside the fit that give the error.
        threads: CPU threads.
        warmup_runs: inferences of a network before the timed ones.
        runs: timed inferences of a network.
        xnnpack: run by XNNPACK what it knows; false takes the built-in kernels.
        clock: wall time, or cpu, processor time of all threads, which other work disturbs less. Host only.
        cpu_mask: hexadecimal mask of the phone's cores; 10 is the first large core of a Pixel 2.
        benchmark_model: path of TensorFlow Lite's benchmark tool on the phone.
        serial: of the phone, as `adb devices` lists it; needed where there are several.
        timeout_s: seconds that one command on the phone may take.
        seed: of the subnets.
        output: folder for latency_table.json and measurements.jsonl.
        resume: go on with the measurements in the output folder.
    """

    space: str = "ssdlite_mbv3"
    supernet: str | None = None
    num_classes: int = 80
    device: Literal["host", "adb"] = "host"
    precision: Precision = "uint8"
    networks: int = 60
    held_out: int = 30
    threads: int = 1
    warmup_runs: int = 3
    runs: int = 20
    xnnpack: bool = True
    clock: Clock = "wall"
    cpu_mask: str = "10"
    benchmark_model: str = "/data/local/tmp/benchmark_model"
    serial: str | None = None
    timeout_s: float = 300.0
    seed: int = 0
    output: str = "runs/latency"
    resume: bool = False

    def __post_init__(self) -> None:
        if self.networks < len(FEATURES) + 1 or self.held_out < 3:
            raise ValueError(
                f"expected networks > {len(FEATURES)}, one for each cost, and held_out >= 3, found {self.networks} and "
                f"{self.held_out}"
            )
        if min(self.num_classes, self.threads, self.runs) < 1 or self.warmup_runs < 0:
            raise ValueError("expected num_classes, threads and runs >= 1 and warmup_runs >= 0, found less")


@dataclass(frozen=True, kw_only=True)
class MeasuredSubnet:
    """One measured subnet, predicted by the table.

    Args:
        subnet: the network.
        measured_ms, predicted_ms: its latency.
        held_out: whether it was outside the fit.
    """

    subnet: SubnetConfig
    measured_ms: float
    predicted_ms: float
    held_out: bool


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A measured table, and what it was made from.

    Args:
        table: the costs.
        subnets: that were measured.
        path: of the table's file.
    """

    table: CalibratedTable
    subnets: tuple[MeasuredSubnet, ...]
    path: Path


def calibrate_latency(config: CalibrateLatencyConfig, *, progress: bool = True) -> Calibration:
    """Measures subnets of a space on a device, and writes the table that `--device FILE` takes.

    Raises:
        FileNotFoundError: no such space or supernet, or no adb to reach a phone.
        ValueError: the device cannot run the networks, or the output folder holds other measurements.
    """
    output = Path(config.output)
    description, device = _description(config), open_device(config)
    ledger_path = output / MEASUREMENTS_FILE
    if ledger_path.exists() and not config.resume:
        raise ValueError(f"expected no {MEASUREMENTS_FILE} in {output}, found one; pass --resume or another --output")
    output.mkdir(parents=True, exist_ok=True)
    ledger = Ledger.open(ledger_path, _identity(config, device))
    known = {str(entry["name"]): float(entry["ms"]) for entry in ledger.entries}

    def timed(name: str, measure: Callable[[], float]) -> float:
        if name not in known:
            known[name] = measure()
            ledger.append({"name": name, "ms": known[name]})
        return known[name]

    law = measure_law(device, timed)
    fitted_subnets, held_out = design(description, config.networks, config.held_out, seed=config.seed)
    plans = [description.shipped_plan(subnet) for subnet in (*fitted_subnets, *held_out)]
    bar = tqdm(zip((*fitted_subnets, *held_out), plans, strict=True), total=len(plans), disable=not progress)
    measured = [timed(str(subnet), partial(_measured_ms, device, plan, config)) for subnet, plan in bar]
    latencies = np.array(measured)
    features = np.array([detector_features(plan, law, config.precision) for plan in plans])
    split = len(fitted_subnets)
    costs = fit_costs(features[:split], latencies[:split])
    predicted = features @ costs
    table = CalibratedTable(
        device=device.name,
        runtime=device.runtime,
        precision=config.precision,
        threads=config.threads,
        machine=device.machine,
        clock=config.clock,
        space=config.supernet or config.space,
        networks=split,
        features=FEATURES,
        costs=tuple(costs.tolist()),
        law=law,
        ranges=CalibratedRange.of("", [plan.layers for plan in plans[:split]]).ranges,
        held_out=_held_out(predicted[split:], latencies[split:]),
    )
    write_record(output / TABLE_FILE, table)
    subnets = [
        MeasuredSubnet(subnet=subnet, measured_ms=measured, predicted_ms=ms, held_out=i >= split)
        for i, (subnet, measured, ms) in enumerate(
            zip((*fitted_subnets, *held_out), latencies.tolist(), predicted.tolist(), strict=True)
        )
    ]
    return Calibration(table=table, subnets=tuple(subnets), path=output / TABLE_FILE)


def design(
    description: ModelDescription, networks: int, held_out: int, *, seed: int
) -> tuple[tuple[SubnetConfig, ...], tuple[SubnetConfig, ...]]:
    """Subnets to fit to, and random others to check on.

    To the smallest and largest of each resolution are added, one at a time, those of random candidates that the ones
    chosen so far tell least of: of the greatest variance of a linear fit to the shares of features (D-optimal).

    Args:
        description: of the detector.
        networks: how many to fit to.
        held_out: how many to check on.
        seed: of the candidates.
    """
    space = description.detector.space
    rng = random.Random(seed)
    # At least two in every three are left to the criterion.
    ends = [end(r) for r in space.resolutions for end in (space.smallest, space.largest)]
    chosen = list(dict.fromkeys(ends))[: max(2, networks // 3)]
    pool = dict.fromkeys(_sample(description, rng) for _ in range(_CANDIDATES_OF_DESIGN * networks))
    checked = tuple(subnet for subnet in pool if subnet not in chosen)[:held_out]
    candidates = [subnet for subnet in pool if subnet not in chosen and subnet not in checked]
    if len(checked) < held_out or len(candidates) + len(chosen) < networks:
        raise ValueError(
            f"expected a space of more than {networks + held_out} subnets, found {len(pool)} in as many draws; lower "
            "--networks and --held_out"
        )
    rows = np.array([_share(description, subnet) for subnet in (*chosen, *candidates)])
    rows /= np.maximum(np.abs(rows).max(axis=0), 1e-12)
    information = 1e-6 * np.eye(rows.shape[1]) + rows[: len(chosen)].T @ rows[: len(chosen)]
    waiting = list(range(len(chosen), len(rows)))
    while len(chosen) < networks:
        inverse = np.linalg.inv(information)
        variances = np.einsum("ij,jk,ik->i", rows[waiting], inverse, rows[waiting])
        best = waiting.pop(int(np.argmax(variances)))
        information += np.outer(rows[best], rows[best])
        chosen.append(candidates[best - len(rows) + len(candidates)])
    return tuple(chosen), checked


def detector_features(plan: LayerPlan, law: PostprocessingLaw, precision: Precision) -> FloatArray:
    """The features of a measured detector: (len(FEATURES),)."""
    features = network_features(plan.layers)
    tail = detection_tail(plan, _NO_CANDIDATES, precision=precision, candidates=0)
    features[POSTPROCESSING] = law.tail_ms(tail)
    return features


def fit_costs(features: FloatArray, latencies_ms: npt.NDArray[np.float64]) -> FloatArray:
    """Costs (len(FEATURES),) of one device and runtime.

    Args:
        features: (N, len(FEATURES)) of the measured networks.
        latencies_ms: (N,).
    """
    runtime = "measured"
    # Post-processing is in the device's own ms already.
    rough = np.array(_PRIOR_COSTS)
    others = np.delete(np.arange(len(FEATURES)), POSTPROCESSING)
    network_ms = np.maximum(latencies_ms - features[:, POSTPROCESSING], 0.1 * latencies_ms)
    rough[others] *= np.median(network_ms / (features[:, others] @ rough[others]))
    timed = TimedNetworks(
        features=features,
        latencies_ms=latencies_ms,
        runtimes=(runtime,) * len(features),
        networks=tuple(map(str, range(len(features)))),
        families=("measured",) * len(features),
    )
    prior = CostPrior(
        costs=tuple(rough.tolist()),
        peak_gmacs_per_s=1e6,  # Many networks of one device need no bound.
        fastest_runtime=runtime,
        sigma=_PRIOR_SIGMA,
        kernel_sigma=_PRIOR_SIGMA,
        ordered_kernels=False,
    )
    fitted: FittedCosts = fit(timed, prior)
    return fitted.costs


def _description(config: CalibrateLatencyConfig) -> ModelDescription:
    if config.supernet is not None:
        return replace(read_description(config.supernet), subnet=None)
    return ModelDescription.assumed(read_space(config.space), num_classes=config.num_classes)


def _identity(config: CalibrateLatencyConfig, device: CalibrationDevice) -> dict[str, object]:
    """What a measurement depends on: those of another device, runtime or network are not mixed in."""
    return {
        "space": config.supernet or config.space,
        "num_classes": config.num_classes,
        "device": device.name,
        "runtime": device.runtime,
        "precision": config.precision,
        "threads": config.threads,
        "clock": config.clock,
    }


def _sample(description: ModelDescription, rng: random.Random) -> SubnetConfig:
    space = description.detector.space
    return space.sample(rng, rng.choice(space.resolutions))


def _share(description: ModelDescription, subnet: SubnetConfig) -> FloatArray:
    features = network_features(description.shipped_plan(subnet).layers)
    return features / float(features @ np.array(_PRIOR_COSTS))


def _measured_ms(device: CalibrationDevice, plan: LayerPlan, config: CalibrateLatencyConfig) -> float:
    return device.median_ms(detector_file(plan, _NO_CANDIDATES, precision=config.precision, seed=config.seed))


def _held_out(predicted: npt.NDArray[np.float64], measured: npt.NDArray[np.float64]) -> HeldOut:
    errors: Sequence[float] = (predicted / measured - 1).tolist()
    return HeldOut(
        networks=len(errors),
        spearman=float(spearmanr(predicted, measured).statistic),
        mean_error=float(np.mean(np.abs(errors))),
        worst_error=float(np.max(np.abs(errors))),
        rms_error=sqrt(float(np.mean(np.square(errors)))),
    )
