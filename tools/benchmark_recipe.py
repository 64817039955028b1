"""Trains the entries of the recipe's ablation and duel on one data set, one evaluator for all; see --help.

The peer is torchvision's SSDLite with its own losses, matching and default boxes, the smallest of them fitted to the
data; it draws the same images, varied in the same way, in the same order. It is scored on its last weights, since its
learning rate ends at zero; ours are averages.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.mobilenetv3 import InvertedResidual
from torchvision.ops.misc import SqueezeExcitation
from tqdm import tqdm

from ofa_det.arch.description import PostProcessConfig
from ofa_det.arch.layers import Layer, Shape
from ofa_det.arch.levels import AnchorSizes, with_anchors
from ofa_det.artefacts.configs import read_config, read_space
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.manifest import MetricsRecord
from ofa_det.artefacts.records import to_plain, to_yaml
from ofa_det.cli.command import command
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import training_loader
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.detection.detections import Detections
from ofa_det.evaluation.predictors import open_predictor
from ofa_det.evaluation.scoring import score
from ofa_det.latency.model import latency_model, shipped_work
from ofa_det.latency.postprocessing import DetectionTail, TailOp, new_suppression
from ofa_det.training.config import TrainConfig
from ofa_det.training.run import train

logger = logging.getLogger("ofa_det.benchmark_recipe")
SIZE_PX = 320
PEER_CELLS = (20, 10, 5, 3, 2, 1)  # On each side of its six levels.
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

OLD_ASSIGNER = {"kind": "iou", "scores": "iou", "positive_iou": 0.55, "ignored_iou": 0.45, "best_anchors": 6}
PEER_ASSIGNER = {"kind": "iou", "scores": "one", "positive_iou": 0.5, "ignored_iou": 0.5, "best_anchors": 1}
HARD_NEGATIVES = {"classification": "hard_negatives"}
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
"""What differs from the preset. The first is the recipe of 0.2.0, but for anchors fitted to where they stand."""


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
    rows = []
    for name in config.entries:
        path = Path(config.output) / f"{name}-{config.seed}" / "result.json"
        if not path.is_file():
            started = time.monotonic()
            of = _run_peer if name in PEERS else _run_entry
            result = of(config, name, path.parent)
            result["minutes"] = (time.monotonic() - started) / 60
            write_atomically(path, json.dumps(result, indent=1))
        rows.append((name, json.loads(path.read_text())))
    print_table(rows, title=f"{config.images:,} images")


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
    options = dict(ENTRIES[name])
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
    options |= {"data": data, "output": str(folder), "resume": True, "checkpoint_every": CHECKPOINT_IMAGES}
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
    options = read_config(TrainConfig, preset, data=config.data, subnet=SSDLITE, schedule=schedule)
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
    metrics = score(_PeerPredictor(peer.eval(), ids), open_split(config.data, "val"))
    return _result(metrics.record, peer_layers(peer), peer_tail(peer, len(ids)))


def build_peer(num_classes: int, dataset: CocoDataset) -> nn.Module:
    """Torchvision's SSDLite from random weights, with default boxes down to the small objects of the data set."""
    peer = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=num_classes + 1)
    peer.anchor_generator = _default_boxes(dataset)
    return peer.to(memory_format=torch.channels_last)


def _default_boxes(dataset: CocoDataset) -> DefaultBoxGenerator:
    """torchvision's, the least scale being that of the smallest twentieth of the training boxes."""
    least = float(np.quantile(np.sqrt(dataset.box_sizes().prod(axis=1)), 0.05))
    return DefaultBoxGenerator([[2, 3] for _ in range(6)], min_ratio=round(least, 2), max_ratio=0.95)


def peer_anchors(dataset: CocoDataset) -> AnchorSizes:
    """The peer's default boxes for each level."""
    return tuple(tuple((w, h) for w, h in pairs.tolist()) for pairs in _default_boxes(dataset)._wh_pairs)


class _PeerPredictor:
    """The peer as the evaluator wants it.

    Args:
        peer: in eval mode.
        ids: (C,) category id of each label.
    """

    input_size = (SIZE_PX, SIZE_PX)

    def __init__(self, peer: nn.Module, ids: NDArray[np.int64]) -> None:
        self._peer = peer
        self._ids = ids

    @torch.no_grad()
    def predict(self, images: NDArray[np.uint8]) -> list[Detections]:
        found = self._peer(list(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255))
        return [
            Detections(
                boxes=one["boxes"][:100].numpy() / SIZE_PX,
                scores=one["scores"][:100].numpy(),
                category_ids=self._ids[one["labels"][:100].numpy() - 1],
            )
            for one in found
        ]


@torch.no_grad()
def peer_layers(peer: nn.Module) -> list[Layer]:
    """The peer's layers as the latency model reads them, batch norms folded, seen in one pass."""
    activations = {nn.Hardswish: "hswish", nn.ReLU: "relu", nn.ReLU6: "relu6", nn.Hardsigmoid: "hsigmoid"}
    found: list[dict[str, Any]] = []

    def shape(features: Tensor) -> Shape:
        return Shape(*features.shape[1:])

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            kind = "depthwise" if module.groups > 1 else "conv"
            sizes = {"kernel_size": module.kernel_size[0], "stride": module.stride[0]}
            found.append(
                {"kind": kind, "input_shapes": (shape(inputs[0]),), "out_channels": module.out_channels, **sizes}
            )
        elif type(module) in activations:
            found[-1]["activation"] = activations[type(module)]
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            found.append({"kind": "pool", "input_shapes": (shape(inputs[0]),), "out_channels": output.shape[1]})
        elif isinstance(module, SqueezeExcitation):
            shapes = (shape(output), Shape(output.shape[1], 1, 1))
            found.append({"kind": "multiply", "input_shapes": shapes, "out_channels": output.shape[1]})
        elif isinstance(module, InvertedResidual) and module.use_res_connect:
            found.append({"kind": "add", "input_shapes": (shape(output),) * 2, "out_channels": output.shape[1]})

    hooks = [module.register_forward_hook(note) for module in peer.modules()]
    peer.eval()([torch.zeros(3, SIZE_PX, SIZE_PX)])
    for hook in hooks:
        hook.remove()
    return [
        Layer(name=str(number), inputs=("",) * len(layer["input_shapes"]), **layer)
        for number, layer in enumerate(found)
    ]


def peer_tail(peer: nn.Module, num_classes: int) -> DetectionTail:
    """What would stand behind its layers in a uint8 file: the same ops as in ours, on its own anchors."""
    generator = peer.anchor_generator
    assert isinstance(generator, DefaultBoxGenerator)
    per_cell = generator.num_anchors_per_location()
    anchors = [count * cells**2 for count, cells in zip(per_cell, PEER_CELLS, strict=True)]
    ops = [TailOp(name="images", kind="quantize", elements=3 * SIZE_PX**2)]
    for width in (4, num_classes):
        for count in anchors:
            ops += [TailOp(name="level", kind=kind, elements=width * count) for kind in ("reshape", "dequantize")]
        ops.append(TailOp(name="levels", kind="concat", elements=width * sum(anchors)))
    ops.append(TailOp(name="scores", kind="sigmoid", elements=num_classes * sum(anchors)))
    return DetectionTail(ops=tuple(ops), suppression=new_suppression(sum(anchors), num_classes, PostProcessConfig()))


main = command("benchmark-recipe", "Train and compare the entries of the recipe.", RecipeConfig, run, presets="train")

if __name__ == "__main__":
    raise SystemExit(main())
