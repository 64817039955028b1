"""A finished build whose detector finds the same in every image: every artefact is there, none was trained."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ofa_det.artefacts.build_record import BUILD_FILE, BuildFolder, BuildRecord, BuiltDetector, StageEntry
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.evaluations import Evaluation
from ofa_det.artefacts.manifest import MANIFEST_FILE, TensorEntry
from ofa_det.artefacts.records import to_yaml, write_record
from ofa_det.building.config import BuildConfig
from ofa_det.data.inspection import InspectConfig
from ofa_det.data.splits import DataConfig
from ofa_det.evaluation.inspection import inspect
from ofa_det.evaluation.run import EvaluateConfig, evaluate
from ofa_det.latency.predict import PredictLatencyConfig, predict_latency
from ofa_det.search.report import SEARCH_FILE, CapReport, SearchReport

CAPS_MS = (20.0, 37.5)


@pytest.fixture
def built(tmp_path, tiny_root, write_detector, write_manifest) -> BuildFolder:
    folder, root = BuildFolder(tmp_path / "x"), tmp_path / "data"
    shutil.copytree(tiny_root, root)
    data = DataConfig(root=str(root))
    folder.root.mkdir()
    config = BuildConfig(data=data, latency_cap_ms=CAPS_MS, output=str(folder.root))
    (folder.root / "config.yaml").write_text(to_yaml(config))
    (folder.root / "commands.txt").write_text("ofa-det train --config <c>\n")
    options = InspectConfig(data=data, space="ssdlite_mbv3_tiny", output=str(folder.inspection))
    inspected = inspect(options, progress=False)
    ids = [entry.id for entry in inspected.record.classes]
    _write_curves(folder.supernet, ("AP_largest", "AP_smallest", "AP_1"))
    _write_search(folder)
    detectors = tuple(_detector(folder, cap, data, ids, write_detector, write_manifest) for cap in CAPS_MS)
    record = BuildRecord(
        machine="a machine of 2 cores",
        data_root=str(root),
        safety=1.0,
        elastic=True,
        notes=("recipe general: because",),
        stages=(
            StageEntry(name="supernet", command="ofa-det train", seconds=600.0, warnings=("2 images are <broken>",)),
        ),
        detectors=detectors,
        seconds=600.0,
    )
    write_record(folder.root / BUILD_FILE, record)
    return folder


@pytest.fixture
def searched(built) -> Path:
    """The search of the build with its table and pictures."""
    for name in ("pareto.png", "architectures.png", "search_curve.png", "predictor_fit.png"):
        Image.new("RGB", (960, 600), "white").save(built.search / name)
    columns = "latency_ms,at_most_ms,ap,macs,parameters,file_bytes,rescored_ap,rescored_error,non_dominated,role,"
    rows = [
        "15,16,0.1,1e6,10,2e6,,,1,smallest,,a",
        "17,18,0.2,2e6,10,2e6,,,1,,,b",
        "19,20,0.3,3e6,10,4e6,0.28,0.02,1,,20,c",
    ]
    (built.search / "pareto.csv").write_text("\n".join([f"{columns}chosen_under_ms,subnet", *rows]))
    return built.search


def _write_search(folder: BuildFolder) -> None:
    """The second of three subnets is chosen under either cap; it is told apart from the largest under the greater."""
    space = read_space("ssdlite_mbv3_tiny")
    subnets = [space.smallest(), space.largest(), space.largest(space.resolutions[0])]
    costs = {"macs": 1_000, "parameters": 10, "file_bytes": 100}
    scored = [
        Evaluation(subnet=subnet, ap=ap, latency_ms=ms, at_most_ms=ms + 1, **costs)
        for subnet, ap, ms in zip(subnets, (0.1, 0.3, 0.2), (15.0, 19.0, 18.0), strict=True)
    ]
    header = {"schema_version": 2, "identity": {}}
    folder.search.mkdir()
    lines = (header, *(one.to_entry() for one in scored))
    (folder.search / "evaluations.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    caps = tuple(
        CapReport(
            cap_ms=cap, subnet=str(subnets[1]), search_ap=0.3, ap=0.28, ap_error=0.02, latency_ms=19.0, at_most_ms=20.0,
            control=str(subnets[2]), control_ap=0.2, control_ap_error=0.02, difference=0.08, difference_error=0.03,
            within_noise=noise,
        )
        for cap, noise in zip(CAPS_MS, (True, False), strict=True)
    )  # fmt: skip
    report = SearchReport(
        strategy="linas", evaluations=3, baselines=2, holdout_images=20, rescore_images=10, safety=1.0,
        latency_rests_on="9 networks", extrapolated=(), noise_standard_errors=2.0, caps=caps,
        not_counted="decoding",
    )  # fmt: skip
    write_record(folder.search / SEARCH_FILE, report)


def _detector(folder, cap, data, ids, write_detector, write_manifest) -> BuiltDetector:
    made = write_detector(
        [[0.5, 0.5, 0.6, 0.6], [0.3, 0.3, 0.4, 0.4]],
        [[0.9, *[0.01] * (ids[-1] - 1)], [0.01, 0.8, *[0.01] * (ids[-1] - 2)]],
    )
    model = folder.model(cap)
    model.parent.mkdir()
    shutil.copyfile(made, model)
    manifest = write_manifest(model, *(id_ if id_ in ids else None for id_ in range(1, ids[-1] + 1)))
    (named,) = predict_latency(PredictLatencyConfig(model=str(model)))
    output = TensorEntry(name="boxes", shape=(1, 100, 4), dtype="float32", content="ymin, xmin, ymax, xmax")
    manifest = replace(manifest, latency=named.prediction.entry(), outputs=(output,))
    write_record(model.with_name(MANIFEST_FILE), manifest)
    for of in ("float", "int8"):
        options = EvaluateConfig(model=str(model), data=data, output=str(folder.evaluation(cap, of)))
        ap = evaluate(options, progress=False).ap
    _write_curves(folder.detector(cap), ("AP",))
    return BuiltDetector(
        latency_cap_ms=cap,
        float_ap=ap,
        int8_ap=ap,
        latency_ms=named.prediction.mean_ms,
        latency_error_ms=named.prediction.error_ms,
        at_most_ms=named.at_most_ms(1.0),
        runtime=named.prediction.runtime,
        host_ms=1.5,
        bytes=model.stat().st_size,
        model=folder.relative(model),
        submission=f"submissions/x_{cap:g}",
    )


def _write_curves(run_folder: Path, names: tuple[str, ...]) -> None:
    run_folder.mkdir()
    lines = [{"step": s, "images": 16 * s, "loss": 5 - s / 100, "images_per_s": 4.0} for s in range(9, 400, 10)]
    lines += [{"step": s, "images": 16 * s, **dict.fromkeys(names, s / 1000)} for s in (199, 399)]
    (run_folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@pytest.fixture(scope="session")
def titles() -> tuple[str, ...]:
    """Headings of the page of `built`."""
    return (
        "Warnings",
        "Accuracy against latency",
        "Training and search",
        "Accuracy by size and class",
        *("What it gets wrong: 20ms", "What it gets wrong: 37.5ms"),
        *("Detections, file against float: 20ms", "Detections, file against float: 37.5ms"),
        *("Where the milliseconds go: 20ms", "Where the milliseconds go: 37.5ms"),
        "What was not counted",
        "On a phone",
        "Data",
        "How it was made",
    )
