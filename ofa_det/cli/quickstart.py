"""The whole way on generated images: they are drawn, and built from."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from ofa_det.artefacts.configs import read_config
from ofa_det.building.config import BuildConfig
from ofa_det.cli.build_det import printed
from ofa_det.cli.command import Printed, command
from ofa_det.data.generated import generate_dataset
from ofa_det.data.splits import DataConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class QuickstartConfig:
    """Generates images, and builds a detector for them.

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


def run(config: QuickstartConfig) -> Printed:
    """Generates and builds; gives the table."""
    from ofa_det.building.run import build  # Seconds of libraries, which --help and a mistake should not wait for.

    folder = Path(config.output)
    if folder.exists() and not config.resume:
        raise ValueError(f"expected a new --output, found {folder}; pass --resume to go on in it, or delete it")
    data = generate_dataset(folder / "data", num_train=config.num_train, num_val=config.num_val, seed=config.seed)
    options = read_config(
        BuildConfig,
        "build/quickstart",
        data=DataConfig(root=str(data)),
        latency_cap_ms=(config.latency_cap_ms,),
        supernet_images=config.train_images,
        finetune_images=config.finetune_images,
        seed=config.seed,
        output=config.output,
        resume=config.resume,
    )
    line = f"ofa-det build {data} --config quickstart --latency_cap_ms {config.latency_cap_ms:g} --output {folder}"
    logger.info("%s", line)
    return printed(build(options))


main = command("quickstart", "The whole way on generated images, in minutes.", QuickstartConfig, run, numbered=True)
