"""The package as a library: `import ofa_det` and its own names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ofa_det
from ofa_det.artefacts.manifest import read_manifest
from ofa_det.latency.tflite_file import read_tflite

CAP_MS = 8.0


@pytest.mark.tflite
def test_the_whole_way_in_ten_lines(tiny_root: Path, tiny_space_file: Path, tmp_path: Path) -> None:
    def folder(name: str) -> str:
        return str(tmp_path / name)

    data = ofa_det.DataConfig(root=str(tiny_root), holdout_fraction=0.5)
    short = ofa_det.ScheduleConfig(num_images=16, batch_size=4, warmup_images=4)
    few = {"data": data, "schedule": short, "calibration_images": 4, "num_workers": 0, "accelerator": "cpu"}
    evolution = ofa_det.EvolutionConfig(population=3, generations=1)

    ofa_det.train(ofa_det.TrainConfig(**few, space=str(tiny_space_file), output=folder("supernet")))  # type: ignore[arg-type]
    searched = ofa_det.search(
        ofa_det.SearchConfig(
            supernet=folder("supernet"),
            data=data,
            latency_cap_ms=CAP_MS,
            calibration_images=4,
            evolution=evolution,
            output=folder("search"),
        )
    )
    trained = ofa_det.train(
        ofa_det.TrainConfig(
            **few, supernet=folder("supernet"), subnet=folder("search/subnet.json"), output=folder("det")
        )  # type: ignore[arg-type]
    )
    exported = ofa_det.export(
        ofa_det.ExportConfig(
            model=folder("det"), data=data, calibration_images=8, verification_images=2, output=folder("export")
        )
    )
    model = str(exported.model_path)
    metrics = ofa_det.evaluate(ofa_det.EvaluateConfig(model=model, data=data, output=folder("evaluation")))
    submission = ofa_det.package(
        ofa_det.PackageConfig(model=model, name="duck", data=data, output=folder("submissions"))
    )
    (predicted,) = ofa_det.predict_latency(ofa_det.PredictLatencyConfig(model=model))

    # What was searched is what was trained, exported, measured and packaged.
    best, manifest, network = searched.best, read_manifest(exported.model_path), read_tflite(model)
    assert manifest is not None
    assert best.subnet == trained.description.subnet == manifest.network.subnet
    assert trained.description.postprocess == manifest.postprocess
    assert trained.description.columns.has_unused
    counts = network.macs, sum(layer.parameters for layer in network.layers)
    assert (best.macs, best.parameters) == (manifest.network.macs, manifest.network.parameters) == counts
    card = (submission.folder / "MODEL_CARD.md").read_text()
    assert f"`{best.subnet}` of {counts[0] / 1e6:.1f} M multiply-accumulates and {counts[1] / 1e6:.2f} M par" in card
    assert manifest.accuracy is not None
    assert metrics.record == exported.after.record == submission.metrics.record == manifest.accuracy.after
    # The latency of the file is that of the plan but for the order in which its layers are added up.
    assert best.latency_ms == searched.latency.mean_ms <= CAP_MS
    for latency in (exported.latency, submission.latency, predicted.prediction, manifest.latency):
        assert latency is not None
        assert latency.mean_ms == pytest.approx(best.latency_ms, rel=1e-6)
        assert latency.error_ms == pytest.approx(searched.latency.error_ms, rel=1e-6)


def test_every_name_is_there() -> None:
    assert all(callable(getattr(ofa_det, name)) for name in ofa_det.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'fly'"):
        _ = ofa_det.fly


def test_predicting_a_latency_waits_for_no_torch() -> None:
    code = (
        "import sys, ofa_det\n"
        "config = ofa_det.PredictLatencyConfig(model='r192 k3e1 k3e3 k3e3 k3e3 k3e3 k3e3', space='ssdlite_mbv3_tiny')\n"
        "(named,) = ofa_det.predict_latency(config)\n"
        "assert named.prediction.mean_ms > 0\n"
        "print(sorted({'torch', 'torchvision', 'tensorflow', 'lightning'} & set(sys.modules)))\n"
    )
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": root}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
