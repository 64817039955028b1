from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ofa_det.data.augmentation_config import AugmentationConfig
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.loading import DrawnImages, image_batches
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.models.calibration import calibrate_batch_norm, calibrated, calibration_batches
from ofa_det.models.supernet import Supernet


def batches(resolution: int = 64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn((4, 3, resolution, resolution), generator=generator) for _ in range(3)]


def test_statistics_are_those_of_the_images(supernet: Supernet) -> None:
    detector = supernet.extract(supernet.config.space.smallest())
    stem = detector.get_submodule("backbone.stem")
    seen: list[Tensor] = []
    handle = stem.norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    calibrate_batch_norm(detector, batches())
    handle.remove()
    torch.testing.assert_close(stem.norm.running_mean, torch.stack([x.mean(dim=(0, 2, 3)) for x in seen]).mean(dim=0))
    torch.testing.assert_close(stem.norm.running_var, torch.stack([x.var(dim=(0, 2, 3)) for x in seen]).mean(dim=0))
    assert not detector.training
    assert stem.norm.momentum == 0.1


def test_what_was_there_before_does_not_matter(supernet: Supernet) -> None:
    subnet = supernet.config.space.smallest()
    first, second = supernet.extract(subnet), supernet.extract(subnet)
    for module in second.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.running_mean, 7.0)
            module.num_batches_tracked.fill_(5)
    for detector in (first, second):
        calibrate_batch_norm(detector, batches())
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_subnet_ships_with_statistics_of_its_own(supernet: Supernet) -> None:
    subnet = supernet.config.space.largest(96)
    before = {name: value.clone() for name, value in supernet.train().state_dict().items()}
    detector = calibrated(supernet, subnet, batches(96))
    assert detector.subnet == subnet
    assert not detector.training
    assert supernet.training
    assert all(torch.equal(before[name], value) for name, value in supernet.state_dict().items())
    # In eval mode it now gives what batches of such images give it in training.
    images = torch.cat(batches(96))
    with torch.no_grad():
        output, in_training = detector(images, subnet), supernet(images, subnet)
    assert (output.logits - in_training.logits).abs().mean() < 0.5 * in_training.logits.std()


def test_no_batch_is_refused(supernet: Supernet) -> None:
    with pytest.raises(ValueError, match="at least one batch to calibrate batch norm with, found none"):
        calibrated(supernet, supernet.config.space.smallest(), [])


def test_calibration_images_are_those_that_are_read(tiny_root: Path) -> None:
    dataset = open_split(DataConfig(root=str(tiny_root)), "train")
    (batch,) = calibration_batches(dataset, 64, num_images=3, read=image_batches)
    (every,) = calibration_batches(dataset, 64, num_images=100, read=image_batches)
    assert every.shape == (12, 3, 64, 64)
    assert torch.equal(batch, every[[0, 4, 8]])
    assert -1 <= batch.min() < -0.5
    assert 0.5 < batch.max() < 1
    with pytest.raises(ValueError, match=r"at least 2 images .* found 1"):
        list(calibration_batches(dataset, 64, num_images=1, read=image_batches))


def test_they_are_varied_as_training_varies_them(tiny_root: Path) -> None:
    dataset = open_split(DataConfig(root=str(tiny_root)), "train")

    def drawn(**options: float) -> torch.Tensor:
        still = {"horizontal_flip": 0.0, "vertical_flip": 0.0, "zoom": 0.0, "colour_jitter": 0.0, "hue_jitter": 0.0}
        read = DrawnImages(augmentation=AugmentationConfig(**{**still, **options}))
        (batch,) = calibration_batches(dataset, 64, num_images=12, read=read)
        return batch

    (plain,) = calibration_batches(dataset, 64, num_images=12, read=image_batches)
    order = [int((plain - image).abs().mean(dim=(1, 2, 3)).argmin()) for image in drawn()]
    assert sorted(order) == list(range(12))
    flipped = drawn(horizontal_flip=1.0)
    assert torch.equal(flipped, drawn().flip(-1))
    assert torch.equal(drawn(zoom=1.0), drawn(zoom=1.0))
    assert not torch.equal(drawn(zoom=1.0), drawn())


def test_calibration_images_may_be_at_hand(tiny_root: Path) -> None:
    dataset = open_split(DataConfig(root=str(tiny_root)), "train")
    asked = []

    def read(dataset: CocoDataset, **options: object) -> list[NDArray[np.uint8]]:
        asked.append(options)
        return [np.full((count, 64, 64, 3), 192, np.uint8) for count in (2, 1)]

    (batch,) = calibration_batches(dataset, 64, num_images=3, read=read)
    assert torch.equal(batch, torch.full((2, 3, 64, 64), 0.5))
    assert asked == [{"size": (64, 64), "batch_size": 16, "limit": 3}]
    with pytest.raises(ValueError, match="at least 2 images"):
        list(calibration_batches(dataset.subset(np.array([0])), 64, num_images=3, read=read))
