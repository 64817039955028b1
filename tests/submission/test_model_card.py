from dataclasses import replace

import pytest

from ofa_det.artefacts.manifest import MANIFEST_FILE, LatencyEntry
from ofa_det.artefacts.records import write_record
from ofa_det.data.splits import DataConfig
from ofa_det.submission.model_card import frontier_ap
from ofa_det.submission.packaging import PackageConfig, package


def card(model, root, output) -> str:
    config = PackageConfig(model=str(model), name="duck", data=DataConfig(root=str(root)), output=str(output))
    return (package(config, progress=False).folder / "MODEL_CARD.md").read_text()


@pytest.fixture
def model(write_detector):
    """Of a circle (2) and a square (5), as the generated data numbers them."""
    return write_detector([[0.5, 0.5, 0.5, 0.5]], [[0.0, 0.5, 0.0, 0.0, 0.4]])


def test_the_card_tells_what_the_manifest_tells(model, tiny_root, write_manifest, tmp_path):
    manifest = write_manifest(model, None, 2, None, None, 5)
    text = card(model, tiny_root, tmp_path / "out")
    assert f"`{manifest.network.subnet}` of 12.3 M multiply-accumulates and 2.35 M parameters, 345 anchors" in text
    assert "`runs/det`, sha256 `abc123`" in text
    assert "int8, 17 training images" in text
    assert "box codes 21.2 dB, scores 23.8 dB" in text


def test_the_latency_is_the_manifests(model, tiny_root, write_manifest, tmp_path):
    """Of the device and runtime that the export was for, whatever the defaults are."""
    latency = LatencyEntry(
        mean_ms=12.34, error_ms=0.56, device="pixel7", runtime="litert-9", precision="uint8", threads=2, excluded="none"
    )
    manifest = write_manifest(model, None, 2, None, None, 5)
    write_record(model.with_name(MANIFEST_FILE), replace(manifest, latency=latency))
    text = card(model, tiny_root, tmp_path / "out")
    assert "predicted latency 12.3 ms ± 0.6 ms on a pixel7 (litert-9)" in text
    assert "**12.3 ms ± 0.6 ms** (pixel7, runtime litert-9, uint8, 2 thread; without none)" in text
    assert f"has {frontier_ap(12.34):.1f} AP at that latency" in text


def test_a_file_made_elsewhere_has_a_card_too(model, tiny_root, tmp_path):
    text = card(model, tiny_root, tmp_path / "out")
    assert "Unknown: no manifest.json" in text
    assert "uint8 `[1, 6, 8, 3]`" in text
    assert "| circle | 2 |" in text


def test_frontier_is_that_of_april_2020():
    assert frontier_ap(30) == pytest.approx(23.04, abs=0.005)
