"""What the benchmarks of training rest on."""

from pathlib import Path

import pytest
from benchmark_recipe import finished
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights
from torchvision_peer import build_peer, peer_layers, peer_tail

from ofa_det.data.splits import DataConfig, open_split


def test_what_is_finished_is_not_made_again(tmp_path: Path) -> None:
    made: list[tuple[str, Path]] = []

    def result(name: str, folder: Path) -> dict[str, float]:
        made.append((name, folder))
        if name == "second" and len(made) == 2:
            raise KeyboardInterrupt
        return {"AP": len(made) / 10}

    with pytest.raises(KeyboardInterrupt):
        finished(["first", "second"], tmp_path, 3, result)
    rows = finished(["first", "second"], tmp_path, 3, result)
    assert [(name, row["AP"]) for name, row in rows] == [("first", 0.1), ("second", 0.3)]
    assert all(row["minutes"] >= 0 for _, row in rows)
    assert made == [("first", tmp_path / "first-3"), *[("second", tmp_path / "second-3")] * 2]


def test_the_peer_costs_what_torchvision_says(tiny_root: Path) -> None:
    peer = build_peer(90, open_split(DataConfig(root=str(tiny_root)), "train"))
    published = SSDLite320_MobileNet_V3_Large_Weights.DEFAULT.meta
    assert sum(layer.macs for layer in peer_layers(peer)) / 1e9 == pytest.approx(published["_ops"], rel=0.01)
    suppression = peer_tail(peer, 90).suppression
    assert suppression is not None
    assert suppression.anchors == 3234
