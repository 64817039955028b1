"""The package as a library: `import ofa_det` and its own names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ofa_det
from ofa_det.arch.detector import DetectorConfig, elastic_layers
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.manifest import EvaluationRecord, read_manifest
from ofa_det.artefacts.model_file import read_description
from ofa_det.artefacts.records import read_record, to_yaml
from ofa_det.latency.tflite_file import read_tflite

CAP_MS = 8.0
README = Path(__file__).parents[1] / "README.md"


@pytest.mark.tflite
def test_the_python_of_the_readme_does_the_whole_way(
    tiny_root: Path, tiny_space_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("DATA").symlink_to(tiny_root)
    short = ofa_det.ScheduleConfig(num_images=16, batch_size=4, warmup_images=4)
    few: dict[str, Any] = {"data": ofa_det.DataConfig(root="DATA"), "schedule": short, "calibration_images": 4}
    evolution = ofa_det.EvolutionConfig(population=3, generations=1)
    smaller = {
        "train/small_data": ofa_det.TrainConfig(**few, space=str(tiny_space_file), output="runs/supernet"),
        "train/finetune": ofa_det.TrainConfig(**few, output="runs/det"),
        "search/pixel2": ofa_det.SearchConfig(
            supernet="runs/supernet",
            data=few["data"],
            latency_cap_ms=1.0,
            calibration_images=4,
            strategy="evolution",
            evolution=evolution,
            rescore=ofa_det.RescoreConfig(candidates=1, calibration_images=4, resamples=2),
            baselines=False,
        ),
    }
    for name, config in smaller.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(f"{name}.yaml").write_text(to_yaml(config))
    names = run_readme_python(
        {f'"{name}"': f'"{name}.yaml"' for name in smaller}
        | {"holdout_fraction=0.15": "holdout_fraction=0.5", "latency_cap_ms=60.0": f"latency_cap_ms={CAP_MS}"}
        | {'name="mmlab-distill"': 'name="mmlab-distill", least_ap=0.0'}  # Hardly trained, it finds hardly anything.
    )
    # What was searched is what was trained, exported, measured and packaged.
    best, model = names["best"], Path(names["model"])
    manifest, network, description = read_manifest(model), read_tflite(model), read_description("runs/det")
    assert manifest is not None
    assert best.subnet == description.subnet == manifest.network.subnet
    assert description.postprocess == manifest.postprocess
    assert description.columns().has_unused
    counts = network.macs, sum(layer.parameters for layer in network.layers)
    assert (best.macs, best.parameters) == (manifest.network.macs, manifest.network.parameters) == counts
    (card,) = (path.read_text() for path in Path("runs/submissions").glob("mmlab-distill_*/MODEL_CARD.md"))
    assert f"`{best.subnet}` of {counts[0] / 1e6:.1f} M multiply-accumulates and {counts[1] / 1e6:.2f} M par" in card
    evaluated = read_record("runs/evaluation/metrics.json", EvaluationRecord)
    assert manifest.accuracy is not None
    assert manifest.latency is not None
    assert evaluated.AP == manifest.accuracy.after.AP
    # The latency of the file is that of the plan but for the order in which its layers are added up.
    (predicted,) = ofa_det.predict_latency(ofa_det.PredictLatencyConfig(model=str(model)))
    assert best.latency_ms <= CAP_MS
    assert manifest.latency.mean_ms == pytest.approx(best.latency_ms, rel=1e-6)
    assert predicted.prediction.mean_ms == pytest.approx(best.latency_ms, rel=1e-6)


def run_readme_python(smaller: dict[str, str]) -> dict[str, Any]:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    for real, small in smaller.items():
        assert real in code
        code = code.replace(real, small)
    names: dict[str, Any] = {}
    exec(code, names)
    return names


def test_the_search_space_of_the_documentation_is_one(tmp_path: Path) -> None:
    page = README.parent / "docs/spaces.md"
    (text,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    path = tmp_path / "space.yaml"
    path.write_text(text)
    space = read_space(str(path))
    anchors = tuple(((0.1, 0.1),) for _ in space.levels)
    layers = elastic_layers(
        DetectorConfig.of(space, num_classes=2, anchor_sizes=anchors)
    )  # Plans every kind of subnet.
    assert [level.stride for level in space.levels] == [8, 16, 32]
    assert {f"head.levels.{level}.score.project" for level in (1, 2)} == {
        layer.name for layer in layers if layer.weights_of == "head.levels.0.score.project"
    }


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


def test_data_are_converted_inspected_and_looked_at_from_python(tmp_path: Path) -> None:
    """What `ofa-det convert`, `inspect` and `detect` do."""
    from PIL import Image

    pictures, data = tmp_path / "pictures", tmp_path / "data"
    pictures.mkdir()
    (pictures / "classes.txt").write_text("cell\n")
    for number in range(6):
        Image.new("RGB", (80, 60), (40 * number, 90, 120)).save(pictures / f"{number}.jpg")
        (pictures / f"{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    converted = ofa_det.convert(ofa_det.ConvertConfig(source=str(pictures), output=str(data)), progress=False)
    assert converted.format == "yolo"
    assert {name: split.objects for name, split in converted.splits.items()} == {"train": 5, "val": 1}
    options = ofa_det.InspectConfig(data=ofa_det.DataConfig(root=str(data)), output=str(tmp_path / "inspect"))
    inspected = ofa_det.inspect(options, progress=False)
    assert inspected.record.splits["train"].images == 5
    assert inspected.record_file.is_file()
    assert inspected.pictures_file.is_file()
    with pytest.raises(FileNotFoundError, match=r"found nothing at .*none\.tflite"):
        ofa_det.detect(ofa_det.DetectConfig(model=str(tmp_path / "none.tflite"), image=str(pictures)))
