"""From a search space to a measured latency table of a device: design, measure, fit, check on subnets left out.

No training is needed: a subnet is measured as the file that it would become, with random weights. What post-processing
costs is measured apart, on the op alone, since random weights say nothing of how many candidates it gets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr
from tqdm import tqdm

from ofa_det.arch.description import ModelDescription
from ofa_det.arch.plan import LayerPlan
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.ledger import Ledger
from ofa_det.artefacts.model_file import read_description
from ofa_det.artefacts.records import write_record
from ofa_det.latency.android import PHONE_FOLDER
from ofa_det.latency.calibrated_range import CalibratedRange
from ofa_det.latency.calibrated_table import TABLE_FILE, CalibratedTable, HeldOut
from ofa_det.latency.calibration_design import design
from ofa_det.latency.calibration_device import CalibrationDevice, open_device
from ofa_det.latency.calibration_fit import NO_CANDIDATES, detector_features, fit_costs
from ofa_det.latency.features import FEATURES
from ofa_det.latency.host import Clock
from ofa_det.latency.latencies import Precision
from ofa_det.latency.measuring import MeasuringDevice, check_measuring
from ofa_det.latency.op_files import detector_file
from ofa_det.latency.postprocessing_timing import measure_law

MEASUREMENTS_FILE: Final = "measurements.jsonl"


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
    device: MeasuringDevice = "host"
    precision: Precision = "uint8"
    networks: int = 60
    held_out: int = 30
    threads: int = 1
    warmup_runs: int = 3
    runs: int = 20
    xnnpack: bool = True
    clock: Clock = "wall"
    cpu_mask: str = "10"
    benchmark_model: str = f"{PHONE_FOLDER}/benchmark_model"
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
        if self.num_classes < 1:
            raise ValueError(f"expected num_classes >= 1, found {self.num_classes}")
        check_measuring(self)


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
    ledger = Ledger.open(ledger_path, _identity(config, description, device))
    known = {str(entry["name"]): float(entry["ms"]) for entry in ledger.entries}

    def timed(name: str, measure: Callable[[], float]) -> float:
        if name not in known:
            known[name] = measure()
            ledger.append({"name": name, "ms": known[name]})
        return known[name]

    law = measure_law(device, timed)
    fitted, held_out = design(description, config.networks, config.held_out, seed=config.seed)
    subnets, split = (*fitted, *held_out), len(fitted)
    plans = [description.shipped_plan(subnet) for subnet in subnets]
    bar = tqdm(zip(subnets, plans, strict=True), total=len(plans), disable=not progress)
    measured = [timed(str(subnet), partial(_measured_ms, device, plan, config)) for subnet, plan in bar]
    latencies = np.array(measured)
    features = np.array([detector_features(plan, law, config.precision) for plan in plans])
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
    rows = zip(subnets, measured, predicted.tolist(), strict=True)
    found = tuple(
        MeasuredSubnet(subnet=subnet, measured_ms=ms, predicted_ms=predicted_ms, held_out=number >= split)
        for number, (subnet, ms, predicted_ms) in enumerate(rows)
    )
    return Calibration(table=table, subnets=found, path=output / TABLE_FILE)


def _description(config: CalibrateLatencyConfig) -> ModelDescription:
    if config.supernet is not None:
        return replace(read_description(config.supernet), subnet=None)
    return ModelDescription.assumed(read_space(config.space), num_classes=config.num_classes)


def _identity(
    config: CalibrateLatencyConfig, description: ModelDescription, device: CalibrationDevice
) -> dict[str, object]:
    """What a measurement depends on: those of another device, runtime or network are not mixed in.

    Networks are known by what they are, wherever the space or supernet lies.
    """
    where: dict[str, object] = {"clock": config.clock} if config.device == "host" else {"cpu_mask": config.cpu_mask}
    return {
        "space": description.detector.space,
        "score_columns": len(description.columns()),
        "device": device.name,
        "runtime": device.runtime,
        "precision": config.precision,
        "threads": config.threads,
        **where,
    }


def _measured_ms(device: CalibrationDevice, plan: LayerPlan, config: CalibrateLatencyConfig) -> float:
    return device.median_ms(detector_file(plan, NO_CANDIDATES, precision=config.precision, seed=config.seed))


def _held_out(predicted: npt.NDArray[np.float64], measured: npt.NDArray[np.float64]) -> HeldOut:
    errors: Sequence[float] = (predicted / measured - 1).tolist()
    return HeldOut(
        networks=len(errors),
        spearman=float(spearmanr(predicted, measured).statistic),
        mean_error=float(np.mean(np.abs(errors))),
        worst_error=float(np.max(np.abs(errors))),
        rms_error=sqrt(float(np.mean(np.square(errors)))),
    )
