"""Prints how fast a subnet trains: beside torchvision's SSDLite, in a supernet, and beside its loader; see --help."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import torch
from benchmark_recipe import SSDLITE
from lightning.fabric import Fabric
from torch import nn
from torchvision_peer import build_peer, peer_layers

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.space import OneSubnet
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.evaluations import read_subnet
from ofa_det.cli.command import command
from ofa_det.data.anchors import fit_space
from ofa_det.data.batch import Batch
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.generated import generate_dataset
from ofa_det.data.loading import training_loader
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.models.accelerator import checked_accelerator
from ofa_det.models.network import DetectionNetwork, Detector
from ofa_det.models.ranks import ALONE
from ofa_det.models.supernet import Supernet
from ofa_det.training.config import TrainConfig
from ofa_det.training.optimiser import TrainingStep, new_optimizer
from ofa_det.training.schedule import ArithmeticPrecision, ScheduleConfig
from ofa_det.training.state import WeightAverage

logger = logging.getLogger("ofa_det.benchmark_train")
GENERATED = "runs/benchmark_train/data"
KEPT_BATCHES = 4
"""Batches that all networks train on in turn."""

Step = Callable[[Batch], None]


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """A comparison of training speeds.

    Args:
        data: images and boxes to train on; of the default root they are generated.
        space: search space, a YAML file or the name of one in configs/spaces.
        subnet: what trains, written out or a subnet.json; torchvision's SSDLite always has 320 px.
        batch_size: images of a step.
        rounds: measurements of each, in turn; the medians are printed.
        steps: of each measurement; on a GPU a few tens.
        threads: of a CPU.
        accelerator: torch device: auto, cpu, cuda or cuda:N.
        precision: of the arithmetic, as Lightning Fabric names it.
    """

    data: DataConfig = field(default_factory=lambda: DataConfig(root=GENERATED))
    space: str = "ssdlite_mbv3"
    subnet: str = SSDLITE
    batch_size: int = 16
    rounds: int = 5
    steps: int = 1
    threads: int = 1
    accelerator: str = "cpu"
    precision: ArithmeticPrecision = "32-true"

    def __post_init__(self) -> None:
        for name in ("rounds", "steps", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} >= 1, found {getattr(self, name)}")


def run(config: BenchmarkConfig) -> None:
    """Measures, and prints a table and the ratios."""
    torch.set_num_threads(config.threads)
    if config.data.root == GENERATED and not Path(GENERATED).is_dir():
        generate_dataset(GENERATED, num_train=64, num_val=4, image_size=(480, 640))
    dataset, subnet = open_split(config.data, "train"), read_subnet(config.subnet)
    device = checked_accelerator(config.accelerator)
    fabric = Fabric(accelerator=device.type, devices=1, precision=config.precision)
    loader = loader_speed(config, dataset, subnet.resolution)
    kept = [batch.to(fabric.device) for batch in islice(batches(config, dataset, subnet.resolution), KEPT_BATCHES)]
    space = fit_space(TrainConfig(data=config.data).anchors, dataset, read_space(config.space), seed=0)
    detector = DetectorConfig(num_classes=len(dataset.categories), space=space)
    torch.manual_seed(0)
    peer = build_peer(len(dataset.categories), dataset)
    static, supernet = Detector(detector, subnet), Supernet(detector)
    supernet.subnets = OneSubnet(subnet=subnet, resolutions=(subnet.resolution,))
    macs = {"torchvision": sum(layer.macs for layer in peer_layers(peer))}
    macs |= dict.fromkeys(("static", "supernet"), static.plan(subnet).macs)
    steps = {
        "torchvision": peer_step(peer, fabric),
        "static": our_step(static, config, fabric),
        "supernet": our_step(supernet, config, fabric),
    }
    speeds = measured(steps, kept, config, fabric)
    print(f"batch {config.batch_size}, {config.threads} threads, {fabric.device}, {config.precision}\n")
    print("| training | MMACs | images/s | GMAC/s |\n|---|---|---|---|")
    for name, speed in speeds.items():
        print(f"| {name} | {macs[name] / 1e6:.0f} | {speed:.2f} | {speed * macs[name] / 1e9:.2f} |")
    print(f"| loader of one worker, alone | | {loader:.1f} | |\n")
    static_speed, peer_speed = (speeds[name] * macs[name] for name in ("static", "torchvision"))
    print(f"static / torchvision, in MACs: {static_speed / peer_speed:.2f}")
    print(f"supernet / static: {speeds['supernet'] / speeds['static']:.2f}")
    print(f"loader / static: {loader / speeds['static']:.1f}")


def measured(steps: Mapping[str, Step], kept: list[Batch], config: BenchmarkConfig, fabric: Fabric) -> dict[str, float]:
    """Median images per second of each; the first round warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(config.rounds + 1):
        for name, step in steps.items():
            started = now(fabric)
            for batch in islice(cycle(kept), number, number + config.steps):
                step(batch)
            seconds[name].append(now(fabric) - started)
        logger.info("round %d of %d", number, config.rounds)
    images = config.batch_size * config.steps
    return {name: images / statistics.median(found[1:]) for name, found in seconds.items()}


def now(fabric: Fabric) -> float:
    """Seconds, once the accelerator has done what it was given."""
    if fabric.device.type == "cuda":
        torch.cuda.synchronize(fabric.device)
    return time.perf_counter()


def batches(config: BenchmarkConfig, dataset: CocoDataset, resolution: int, num_workers: int = 0):
    """A training stream, varied as by default."""
    return training_loader(
        dataset, batch_size=config.batch_size, first_step=0, num_steps=10**6, seed=0, num_workers=num_workers,
        resolution_of_step=lambda step: resolution, augmentation=TrainConfig(data=config.data).augmentation,
    )  # fmt: skip


def loader_speed(config: BenchmarkConfig, dataset: CocoDataset, resolution: int) -> float:
    """Images per second that one worker prepares while nothing else runs."""
    count, stream = 10 + config.rounds, batches(config, dataset, resolution, num_workers=1)
    for _ in islice(stream, 3):  # What the worker has prepared ahead is not timed.
        pass
    started = time.perf_counter()
    for _ in islice(stream, count):
        pass
    return count * config.batch_size / (time.perf_counter() - started)


def our_step(network: DetectionNetwork, config: BenchmarkConfig, fabric: Fabric) -> Step:
    """All of a training's step: targets, losses, optimiser, average."""
    schedule = ScheduleConfig(batch_size=config.batch_size, precision=config.precision)
    options = TrainConfig(data=config.data, schedule=schedule)
    module, optimizer = fabric.setup(network, new_optimizer(network, schedule, fabric))
    average, step_once = WeightAverage(network), TrainingStep(network, module, optimizer, fabric, options, ALONE)
    module.train()

    def step(batch: Batch) -> None:
        step_once(0, batch)
        average.update(network, schedule.ema_decay)

    return step


def peer_step(peer: nn.Module, fabric: Fabric) -> Step:
    """Torchvision's, with its own matching and losses, AdamW and clipping; it keeps no average."""
    groups = [{"params": list(peer.parameters())}]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, fused=True if fabric.device.type == "cuda" else None)
    module, optimizer = fabric.setup(peer.train(), optimizer)

    def step(batch: Batch) -> None:
        side = batch.images.shape[-1]
        targets = [{"boxes": b * side, "labels": n + 1} for b, n in zip(batch.boxes, batch.labels, strict=True)]
        optimizer.zero_grad()
        fabric.backward(sum(module(list(batch.images.float() / 255), targets).values()))
        fabric.clip_gradients(module, optimizer, max_norm=10.0, error_if_nonfinite=False)
        optimizer.step()

    return step


main = command("benchmark-train", "Measure how fast a subnet trains.", BenchmarkConfig, run)

if __name__ == "__main__":
    raise SystemExit(main())
