"""Trains the entries of the recipe's ablation and duel on one data set, one evaluator for all; see --help.

The peer is torchvision's SSDLite with its own losses, matching and default boxes, the smallest of them fitted to the
data; it draws the same images, varied in the same way, in the same order. It is scored on its last weights, since its
learning rate ends at zero; ours are averages.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision_peer import SIZE_PX, PeerPredictor, build_peer, peer_anchors, peer_layers, peer_tail
from tqdm import tqdm

from ofa_det.arch.layers import Layer
from ofa_det.arch.levels import with_anchors
from ofa_det.artefacts.configs import read_config, read_space
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.manifest import MetricsRecord
from ofa_det.artefacts.records import to_plain, to_yaml
from ofa_det.cli.command import command
from ofa_det.data.loading import training_loader
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.evaluation.predictors import open_predictor
from ofa_det.evaluation.scoring import score
from ofa_det.latency.model import latency_model, shipped_work
from ofa_det.latency.postprocessing import DetectionTail
from ofa_det.training.config import TrainConfig
from ofa_det.training.run import train

logger = logging.getLogger("ofa_det.benchmark_recipe")
BATCH_SIZE = 16
CHECKPOINT_IMAGES = 2_000
PEER_ANCHORS, WITH_NECK = "ssdlite_mbv3 with the peer's anchors", "ssdlite_mbv3 with the neck of mbv3_relu6"

SSDLITE = "r320 k3e1 k3e4.k3e3 k5e3.k5e3.k5e3 k3e6.k3e3.k3e3.k3e3 k3e6.k3e6 k5e6.k5e6.k5e6"
"""MobileNetV3-Large as nearly as the space has it."""

LITE0 = "r256 k3e1 k3e6.k3e6 k5e6.k5e6 k3e6.k3e6.k3e6 k5e6.k5e6.k5e6 k5e6.k5e6.k5e6.k5e6 k3e6"
"""The whole of EfficientNet-Lite0, at a resolution at which it is predicted no slower than the peer."""

FASTER = "r320 k3e1 k3e4.k3e3 k5e3.k5e3.k5e3 k3e6.k3e3.k3e3 k3e6.k3e6 k5e6.k5e4"
"""The like with two blocks less, predicted no slower than the peer."""

LITE0_SSD = "r320 k3e1 k3e3 k3e4 k3e6.k3e6 k5e6.k5e6 k5e6.k5e6.k5e6 k3e6"
"""Most of EfficientNet-Lite0, at the peer's resolution and predicted no slower."""

TASK_ALIGNED = {
    "assigner": {"kind": "task_aligned", "scores": "iou"},
    "losses": {"classification": "varifocal", "box": "giou", "box_weight": 2.0},
}
OLD_ASSIGNER = {"kind": "iou", "scores": "iou", "positive_iou": 0.55, "ignored_iou": 0.45, "best_anchors": 6}
PEER_ASSIGNER = {"kind": "iou", "scores": "one", "positive_iou": 0.5, "ignored_iou": 0.5, "best_anchors": 1}
HARD_NEGATIVES = {"classification": "hard_negatives", "box": "giou", "box_weight": 2.0}
SMOOTH_L1 = {**HARD_NEGATIVES, "box": "smooth_l1", "box_weight": 1.0}
SLOW, RATE = {"learning_rate": 1e-3}, {"learning_rate": 6e-3}
CROPS = {"iou_crop": 1.0, "zoom_out": 0.5}

PEERS: Mapping[str, float] = {"peer": 1e-3, "peer_fast": 6e-3}
"""Learning rates of the peer."""

ENTRIES: Mapping[str, Mapping[str, Any]] = {
    "iou_varifocal": {"space": "ssdlite_mbv3", "subnet": SSDLITE, "assigner": OLD_ASSIGNER, "schedule": SLOW},
    "hard_negatives": {
        "space": "ssdlite_mbv3", "subnet": SSDLITE, "assigner": PEER_ASSIGNER, "losses": HARD_NEGATIVES,
        "schedule": SLOW,
    },
    "peer_anchors": {
        "space": PEER_ANCHORS, "subnet": SSDLITE, "assigner": PEER_ASSIGNER, "losses": HARD_NEGATIVES,
        "schedule": SLOW,
    },
    "fast": {"space": PEER_ANCHORS, "subnet": SSDLITE, "assigner": PEER_ASSIGNER, "losses": HARD_NEGATIVES},
    "smooth_l1": {"space": PEER_ANCHORS, "subnet": SSDLITE, "assigner": PEER_ASSIGNER, "losses": SMOOTH_L1},
    "ssd_scratch": {"space": PEER_ANCHORS, "subnet": FASTER, "assigner": PEER_ASSIGNER, "losses": SMOOTH_L1},
    "normalised": {"space": PEER_ANCHORS, "subnet": SSDLITE, "schedule": SLOW},
    "neck": {"space": WITH_NECK, "subnet": SSDLITE, "schedule": SLOW},
    "rate": {"space": WITH_NECK, "subnet": SSDLITE},
    "crops": {"space": WITH_NECK, "subnet": SSDLITE, "augmentation": CROPS},
    "lite0_scratch": {"space": "efficientnet_lite0", "subnet": LITE0},
    "lite0": {"space": "efficientnet_lite0", "subnet": LITE0, "pretrained": "efficientnet_lite0"},
    "one_anchor": {
        "space": "efficientnet_lite0", "subnet": LITE0, "pretrained": "efficientnet_lite0", "anchors": {"count": 4},
    },
    "lite0_ssd": {
        "space": "efficientnet_lite0_ssd", "subnet": LITE0_SSD, "pretrained": "efficientnet_lite0",
        "anchors": {"source": "scaled"}, "assigner": PEER_ASSIGNER, "losses": SMOOTH_L1,
    },
    "lite0_ssd_iou": {
        "space": "efficientnet_lite0_ssd", "subnet": LITE0_SSD, "pretrained": "efficientnet_lite0",
        "assigner": OLD_ASSIGNER,
    },
    "lite0_ssd_slow": {
        "space": "efficientnet_lite0_ssd", "subnet": LITE0_SSD, "pretrained": "efficientnet_lite0",
        "anchors": {"source": "scaled"}, "assigner": PEER_ASSIGNER, "losses": SMOOTH_L1,
        "schedule": {"backbone_rate": 0.2},
    },
    "slow_backbone": {
        "space": "efficientnet_lite0", "subnet": LITE0, "pretrained": "efficientnet_lite0",
        "schedule": {"backbone_rate": 0.2},
    },
}  # fmt: skip
"""What differs from the preset and `TASK_ALIGNED`.

The first is the recipe of 0.2.0, but for anchors fitted to where they stand.
"""


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """A comparison of recipes.

    Args:
        data: the data set, in COCO layout.
        preset: the options that every entry begins with, a file or a name in configs/train.
        entries: what to run, in this order: names in this file.
        images: training images that each of them draws.
        seed: of weights and draws.
        num_workers: processes that prepare batches.
        output: folder; what is finished there is not run again.
    """

    data: DataConfig
    preset: str = "finetune"
    entries: tuple[str, ...] = (*PEERS, *ENTRIES)
    images: int = 20_000
    seed: int = 0
    num_workers: int = 1
    output: str = "runs/recipe"

    def __post_init__(self) -> None:
        if unknown := [name for name in self.entries if name not in (*PEERS, *ENTRIES)]:
            known = ", ".join((*PEERS, *ENTRIES))
            raise ValueError(f"expected entries of {known}, found {unknown[0]!r}")


def run(config: RecipeConfig) -> None:
    """Runs what is not finished, and prints the table."""

    def result(name: str, folder: Path) -> dict[str, Any]:
        return (_run_peer if name in PEERS else _run_entry)(config, name, folder)

    rows = finished(config.entries, Path(config.output), config.seed, result)
    print_table(rows, title=f"{config.images:,} images")


def finished(
    entries: Sequence[str], output: Path, seed: int, result: Callable[[str, Path], dict[str, Any]]
) -> list[tuple[str, Mapping[str, Any]]]:
    """The results of entries by name, with the minutes that each took; those that are there are not made again.

    Args:
        entries: their names.
        output: holds a folder for each, with its `result.json`.
        seed: of the entries.
        result: of an entry that is to be made in a folder.
    """
    rows = []
    for name in entries:
        path = output / f"{name}-{seed}" / "result.json"
        if not path.is_file():
            started = time.monotonic()
            made = result(name, path.parent)
            write_atomically(path, json.dumps({**made, "minutes": (time.monotonic() - started) / 60}, indent=1))
        rows.append((name, json.loads(path.read_text())))
    return rows


def print_table(rows: Sequence[tuple[str, Mapping[str, Any]]], *, title: str) -> None:
    """Prints names and results as a table."""
    classes = [entry["name"] for entry in rows[0][1]["classes"]]
    print(f"| {title} | AP | AP50 | {' | '.join(classes)} | MMACs | Pixel 2 uint8 ms |")
    print("|---" * (5 + len(classes)) + "|")
    for name, row in rows:
        figures = [row["AP"], row["AP50"], *(entry["AP"] for entry in row["classes"])]
        cells = " | ".join(f"{100 * figure:.1f}" for figure in figures)
        print(f"| {name} | {cells} | {row['macs'] / 1e6:.0f} | {row['latency_ms']:.1f} |")


def _run_entry(config: RecipeConfig, name: str, folder: Path) -> dict[str, Any]:
    options = {**TASK_ALIGNED, **ENTRIES[name]}
    if options["space"] in (PEER_ANCHORS, WITH_NECK):
        space = read_space("ssdlite_mbv3")
        if options["space"] == WITH_NECK:
            other = read_space("mbv3_relu6")
            backbone = replace(space.backbone, last=None)
            space = replace(space, backbone=backbone, neck=other.neck, head=other.head, levels=other.levels)
        else:
            space = replace(space, levels=with_anchors(space.levels, peer_anchors(open_split(config.data, "train"))))
        options["space"] = str(folder / "space.yaml")
        write_atomically(folder / "space.yaml", to_yaml(space))
    schedule = {"num_images": config.images, "batch_size": BATCH_SIZE, **RATE} | options.pop("schedule", {})
    settings = {"seed": config.seed, "num_workers": config.num_workers, "schedule": schedule, **options}
    return trained_and_scored(config.data, config.preset, folder, **settings)


def trained_and_scored(data: DataConfig, preset: str, folder: Path, **options: Any) -> dict[str, Any]:
    """Trains one network to the end, from where it was interrupted, and scores it on the validation images.

    Args:
        data: the data set.
        preset: the options to begin with, a file or a name in configs/train.
        folder: of the run.
        options: what differs from the preset; of the schedule at least `num_images`.
    """
    options = (
        {"supernet": None}
        | options
        | {"data": data, "output": str(folder), "resume": True, "checkpoint_every": CHECKPOINT_IMAGES}
    )
    options["validate_every"] = max(1, options["schedule"]["num_images"] // 4)
    preset = preset if preset.endswith((".yaml", ".yml")) else f"train/{preset}"
    description = train(read_config(TrainConfig, preset, **options)).description
    assert description.subnet is not None
    metrics = score(open_predictor(folder), open_split(data, "val"))
    plan, tail = shipped_work(description, description.subnet, precision="uint8")
    return _result(metrics.record, plan.layers, tail)


def _result(metrics: MetricsRecord, layers: Sequence[Layer], tail: DetectionTail) -> dict[str, Any]:
    cost = latency_model().predict(layers, tail)
    return {**to_plain(metrics), "macs": cost.macs, "latency_ms": cost.mean_ms}


def _run_peer(config: RecipeConfig, name: str, folder: Path) -> dict[str, Any]:
    """Torchvision's SSDLite, trained to the end from `peer.ckpt` if there is one."""
    dataset = open_split(config.data, "train")
    preset = config.preset if config.preset.endswith((".yaml", ".yml")) else f"train/{config.preset}"
    schedule = {"num_images": config.images, "batch_size": BATCH_SIZE, "learning_rate": PEERS[name]}
    options = read_config(TrainConfig, preset, data=config.data, supernet=None, subnet=SSDLITE, schedule=schedule)
    torch.manual_seed(config.seed)
    peer = build_peer(len(dataset.categories), dataset)
    decay = options.schedule.weight_decay
    groups = [
        {"params": [p for p in peer.parameters() if (p.ndim == 4) == decayed], "weight_decay": decay * decayed}
        for decayed in (True, False)
    ]
    optimizer = torch.optim.AdamW(groups)
    checkpoint, first = folder / "peer.ckpt", 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        peer.load_state_dict(state["peer"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["next_step"]
    steps = options.schedule.num_steps
    batches = training_loader(
        dataset, batch_size=BATCH_SIZE, first_step=first, num_steps=steps - first, seed=config.seed,
        resolution_of_step=lambda step: SIZE_PX, augmentation=options.augmentation, num_workers=config.num_workers,
        phase_of_step=options.schedule.phase_at,
    )  # fmt: skip
    peer.train()
    for step, batch in zip(range(first, steps), tqdm(batches, initial=first, total=steps, desc="peer"), strict=True):
        targets = [{"boxes": b * SIZE_PX, "labels": n + 1} for b, n in zip(batch.boxes, batch.labels, strict=True)]
        loss = sum(peer(list(batch.images.float() / 255), targets).values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(peer.parameters(), options.schedule.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = options.schedule.learning_rate_at(step)
        optimizer.step()
        if (step + 1) % (CHECKPOINT_IMAGES // BATCH_SIZE) == 0 or step + 1 == steps:
            state = {"peer": peer.state_dict(), "optimizer": optimizer.state_dict(), "next_step": step + 1}
            folder.mkdir(parents=True, exist_ok=True)
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").rename(checkpoint)
            logger.info("peer: %d images, loss %.3f", (step + 1) * BATCH_SIZE, float(loss))
    ids = np.array([category.id for category in dataset.categories])
    metrics = score(PeerPredictor(peer.eval(), ids), open_split(config.data, "val"))
    return _result(metrics.record, peer_layers(peer), peer_tail(peer, len(ids)))


main = command("benchmark-recipe", "Train and compare the entries of the recipe.", RecipeConfig, run, presets="train")

if __name__ == "__main__":
    raise SystemExit(main())
