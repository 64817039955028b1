from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ofa_det.arch.detector import DetectorConfig
from ofa_det.data.batch import Batch
from ofa_det.detection.assignment import AssignerConfig, make_assigner
from ofa_det.detection.losses import DetectionLosses, LossConfig
from ofa_det.models.network import DetectionNetwork
from ofa_det.models.ranks import ALONE
from ofa_det.models.supernet import Supernet
from ofa_det.training.parts import DeferredNormaliser, add_up, parts_of
from ofa_det.training.schedule import ScheduleConfig
from ofa_det.training.step import accumulate_gradients

MakeBatch = Callable[..., Batch]
DEFAULT = LossConfig()


@pytest.fixture
def network(shallow: DetectorConfig) -> Supernet:
    """In eval mode, in which images do not depend on each other."""
    torch.manual_seed(0)
    return Supernet(shallow).eval()


def run(
    network: DetectionNetwork,
    batch: Batch,
    assigner: Callable[..., object],
    losses: LossConfig = DEFAULT,
    apart: bool = False,
) -> list[DetectionLosses]:
    """The largest and the smallest train, or the smallest alone, which the largest teaches apart."""
    largest, smallest = network.subnets.largest(64), network.subnets.smallest(64)
    return accumulate_gradients(
        network,
        network.grid(largest),
        batch,
        (smallest,) if apart else (largest, smallest),
        backward=Tensor.backward,
        assigner=assigner,
        losses=losses,
        teacher=largest if apart else None,
    )


def gradients(network: DetectionNetwork) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["task_aligned", "iou"])
@pytest.mark.parametrize("empty", [False, True], ids=["objects", "no objects"])
@pytest.mark.parametrize(
    "losses",
    [DEFAULT, LossConfig(classification="hard_negatives"), LossConfig(distillation="replaces")],
    ids=["default", "hard negatives", "replaces"],
)
@pytest.mark.parametrize("apart", [False, True], ids=["teacher trains", "teacher apart"])
def test_parts_add_up_to_the_whole(
    network: Supernet, make_batch: MakeBatch, kind: str, empty: bool, losses: LossConfig, apart: bool
) -> None:
    batch, assigner = make_batch(64), make_assigner(AssignerConfig(kind=kind))
    if empty:
        batch = replace(batch, boxes=(torch.zeros(0, 4),) * 4, labels=(torch.zeros(0, dtype=torch.int64),) * 4)
    whole = run(network, batch, assigner, losses, apart)
    wanted = gradients(network)
    network.zero_grad()
    normaliser = DeferredNormaliser(assigner, provisional=4.0)
    parts = [run(network, part, normaliser, losses, apart) for part in parts_of(batch, 2)]
    found = add_up(list(network.parameters()), parts, normaliser, ALONE)
    assert wanted.keys() == gradients(network).keys() < dict(network.named_parameters()).keys()
    torch.testing.assert_close(gradients(network), wanted, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-6)


def test_parts_are_cut_in_order(make_batch: MakeBatch) -> None:
    batch = make_batch(64)
    first, second = parts_of(batch, 2)
    assert torch.equal(torch.cat([first.images, second.images]), batch.images)
    assert (first.boxes + second.boxes, first.labels + second.labels) == (batch.boxes, batch.labels)
    assert (len(first.ignored), len(first.attached)) == (2, 2)


@pytest.mark.parametrize("accumulate", [0, 3, 4, 8])
def test_parts_must_be_equal_and_have_statistics(accumulate: int) -> None:
    with pytest.raises(ValueError, match=f"equal parts of at least 2 images, found accumulate {accumulate} and"):
        ScheduleConfig(batch_size=4, accumulate=accumulate)
