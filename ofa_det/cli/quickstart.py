"""The whole way on generated images: every step is one of the other commands, printed as it would be typed."""

from __future__ import annotations

import shlex
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.manifest import EvaluationRecord, read_manifest
from ofa_det.artefacts.records import read_record, write_record
from ofa_det.cli.command import command
from ofa_det.cli.main import COMMANDS
from ofa_det.data.generated import generate_dataset
from ofa_det.latency.measure import MeasureLatencyConfig, measure_latency


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Generates images, then trains, searches, fine-tunes, exports, evaluates and packages a detector for them.

    Args:
        output: folder of everything.
        latency_cap_ms: predicted Pixel 2 latency that the detector may not exceed, in ms (uint8, one thread).
        num_train: training images to generate.
        num_val: validation images to generate.
        train_images: images drawn to train the supernet.
        finetune_images: images drawn to fine-tune the chosen subnet.
        seed: of the images and of every step.
        resume: go on in a folder where a quickstart was interrupted, with the same options.
    """

    output: str = "runs/quickstart"
    latency_cap_ms: float = 30.0
    num_train: int = 400
    num_val: int = 80
    train_images: int = 2_400
    finetune_images: int = 3_200
    seed: int = 0
    resume: bool = False


def run(config: QuickstartConfig) -> None:
    """Runs every step and prints the table."""
    started = time.monotonic()
    folder = Path(config.output)
    if folder.exists() and not config.resume:
        raise ValueError(f"expected a new --output, found {folder}; pass --resume to go on in it, or delete it")
    data = generate_dataset(folder / "data", num_train=config.num_train, num_val=config.num_val, seed=config.seed)
    resume = f"--resume={str(config.resume).lower()}"
    seed = f"--seed={config.seed}"
    _run_command(
        "train", "--config", "quickstart", "--data.root", data,
        "--schedule.num_images", config.train_images, "--output", folder / "supernet", seed, resume,
    )  # fmt: skip
    _run_command(
        "search", "--config", "quickstart", "--supernet", folder / "supernet",
        "--data.root", data, "--latency_cap_ms", config.latency_cap_ms, "--output", folder / "search", seed, resume,
    )  # fmt: skip
    _run_command(
        "train", "--config", "quickstart_finetune", "--supernet", folder / "supernet",
        "--subnet", folder / "search/subnet.json", "--data.root", data,
        "--schedule.num_images", config.finetune_images, "--output", folder / "det", seed, resume,
    )  # fmt: skip
    model = folder / "export/model.tflite"
    _run_command(
        "export", "--model", folder / "det", "--data.root", data, "--format", "tflite-int8", "--output", model.parent
    )
    for name, path in (("float", folder / "det"), ("int8", model)):
        _run_command(
            "eval", "--model", path, "--data.root", data, "--output", folder / f"evaluation_{name}",
            *(("--compare", folder / "det") if name == "int8" else ()),
        )  # fmt: skip
    _run_command("predict-latency", "--model", model, "--device", "pixel2", "--precision", "uint8")
    _run_command(
        "package",
        "--model",
        model,
        "--name",
        "quickstart",
        "--data.root",
        data,
        "--output",
        folder / "submissions",
        "--least_ap",
        0,
    )
    _report(folder, model, time.monotonic() - started)


def _run_command(name: str, *options: object) -> None:
    """Runs one command in this process; one that fails has said why, and its status is the quickstart's."""
    words = [str(option) for option in options]
    print(f"\n$ ofa-det {name} {shlex.join(words)}", flush=True)
    status = import_module(f"ofa_det.cli.{COMMANDS[name][0]}").main(words)
    if status != 0:
        raise SystemExit(status)


@dataclass(frozen=True, kw_only=True)
class QuickstartReport:
    """`report.json`: the figures of the detector that came out."""

    SCHEMA_VERSION: ClassVar[int] = 2

    float_ap: float | None
    int8_ap: float | None
    predicted_pixel2_ms: float
    predicted_error_ms: float
    runtime: str
    host_ms: float
    size_bytes: int
    seconds: float


def _report(folder: Path, model: Path, seconds: float) -> None:
    float_ap, int8_ap = (
        read_record(folder / f"evaluation_{name}/metrics.json", EvaluationRecord).AP for name in ("float", "int8")
    )
    manifest = read_manifest(model)
    assert manifest is not None
    assert manifest.latency is not None
    predicted = manifest.latency
    host = measure_latency(MeasureLatencyConfig(model=str(model)))
    report = QuickstartReport(
        float_ap=float_ap,
        int8_ap=int8_ap,
        predicted_pixel2_ms=predicted.mean_ms,
        predicted_error_ms=predicted.error_ms,
        runtime=predicted.runtime,
        host_ms=host.mean_ms,
        size_bytes=model.stat().st_size,
        seconds=seconds,
    )
    write_record(folder / "report.json", report)
    rows = [
        ("float AP", f"{float_ap:.3f}"),
        ("int8 AP", f"{int8_ap:.3f} (of {model})"),
        ("predicted on Pixel 2", f"{predicted.mean_ms:.1f} ms ± {predicted.error_ms:.1f} ms"),
        ("", f"{predicted.runtime}, one thread, without the post-processing op"),
        ("measured here", f"{host.mean_ms:.1f} ms, one thread, whole file"),
        ("size", f"{model.stat().st_size / 1e6:.2f} MB"),
        ("time", f"{seconds / 60:.1f} min"),
        ("Pareto plot", str(folder / "search/pareto.png")),
        ("detections", str(folder / "evaluation_int8/contact_sheet.jpg")),
    ]
    table = "\n".join(f"{name:<22}{value}" for name, value in rows)
    write_atomically(folder / "report.txt", table + "\n")
    print(f"\n{table}")


main = command("quickstart", "The whole way on generated images, in minutes.", QuickstartConfig, run)
