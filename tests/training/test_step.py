from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.data.batch import Batch
from ofa_det.detection.assignment import AssignerConfig, make_assigner
from ofa_det.detection.losses import DetectionLosses, LossConfig
from ofa_det.models.network import DetectionNetwork, Detector
from ofa_det.models.supernet import Supernet
from ofa_det.training.schedule import sandwich
from ofa_det.training.step import accumulate_gradients

MakeBatch = Callable[..., Batch]


def step(
    network: DetectionNetwork,
    batch: Batch,
    *subnets: SubnetConfig,
    teacher: SubnetConfig | None = None,
    distill_weight: float = 1.0,
) -> list[DetectionLosses]:
    network.train().zero_grad()
    return accumulate_gradients(
        network,
        network.grid(subnets[0]),
        batch,
        subnets,
        backward=Tensor.backward,
        assigner=make_assigner(AssignerConfig()),
        losses=LossConfig(distill_weight=distill_weight),
        teacher=teacher,
    )


def gradients(network: DetectionNetwork) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", [Supernet, Detector])
def test_supernet_and_detector_take_the_same_step(
    kind: type[DetectionNetwork], shallow: DetectorConfig, make_batch: MakeBatch
) -> None:
    torch.manual_seed(0)
    network: DetectionNetwork = (
        Supernet(shallow) if kind is Supernet else Detector(shallow, shallow.space.largest(), resolutions=(64, 96))
    )
    seen = set()
    for number in range(6):
        subnets = sandwich(network.subnets, number, random_subnets=1, seed=0)
        losses = step(network, make_batch(subnets[0].resolution), *subnets)
        assert len(losses) == len(subnets) == (3 if kind is Supernet else 1)
        assert all(part.total.isfinite() and not part.total.requires_grad for part in losses)
        assert all(gradient.isfinite().all() for gradient in gradients(network).values())
        seen.add(subnets[0].resolution)
    assert seen == {64, 96}


def test_a_subnet_of_the_supernet_and_its_extraction_have_the_same_gradients(
    shallow: DetectorConfig, make_batch: MakeBatch
) -> None:
    """At the resolution that its predictors of boxes learn in; at others extraction folds a factor into them."""
    torch.manual_seed(0)
    supernet, subnet = Supernet(shallow), shallow.space.largest()
    detector = supernet.extract(subnet)
    batch = make_batch(subnet.resolution)
    (of_supernet,), (of_detector,) = (step(network, batch, subnet) for network in (supernet, detector))
    assert of_supernet.total == of_detector.total
    shared = gradients(supernet)
    for name, gradient in gradients(detector).items():
        torch.testing.assert_close(shared[name], gradient)


def test_gradients_of_all_subnets_add_up_and_the_first_teaches(shallow: DetectorConfig, make_batch: MakeBatch) -> None:
    torch.manual_seed(0)
    supernet, batch = Supernet(shallow), make_batch(64)
    largest, smallest = shallow.space.largest(64), shallow.space.smallest(64)
    both = step(supernet, batch, largest, smallest)
    together = gradients(supernet)
    assert both[0].distillation == 0
    assert both[1].distillation > 0
    (alone,) = step(supernet, batch, largest)
    of_largest = gradients(supernet)
    assert alone.total == both[0].total
    # The largest subnet alone has a second block in its stages: the smallest adds nothing there.
    assert torch.equal(together["backbone.stages.1.1.project.weight"], of_largest["backbone.stages.1.1.project.weight"])
    assert not torch.equal(together["backbone.stem.weight"], of_largest["backbone.stem.weight"])


def test_a_teacher_apart_teaches_as_well_and_does_not_train(shallow: DetectorConfig, make_batch: MakeBatch) -> None:
    torch.manual_seed(0)
    supernet, batch = Supernet(shallow), make_batch(64)
    largest, smallest = shallow.space.largest(64), shallow.space.smallest(64)
    beside = step(supernet, batch, largest, smallest)
    apart = step(supernet, batch, smallest, teacher=largest)
    assert len(apart) == 1
    # The same targets and the same teacher, so the same losses; the second block of a stage is the largest's alone.
    assert apart[0] == beside[1]
    only = "backbone.stages.1.1.project.weight"
    assert only not in gradients(supernet)
    (untaught,) = step(supernet, batch, smallest, teacher=largest, distill_weight=0)
    assert untaught.distillation == 0


def test_a_teacher_apart_runs_only_if_it_is_heard(shallow: DetectorConfig, make_batch: MakeBatch) -> None:
    torch.manual_seed(0)
    supernet, batch, ran = Supernet(shallow), make_batch(64), []
    largest, smallest = shallow.space.largest(64), shallow.space.smallest(64)
    supernet.register_forward_pre_hook(lambda _, inputs: ran.append((inputs[1], torch.is_grad_enabled())))
    step(supernet, batch, smallest, teacher=largest)
    step(supernet, batch, smallest, teacher=largest, distill_weight=0)
    assert ran == [(largest, False), (smallest, True), (smallest, True)]


def test_ignored_regions_are_not_trained_as_background(shallow: DetectorConfig, make_batch: MakeBatch) -> None:
    torch.manual_seed(0)
    network, subnet = Detector(shallow, shallow.space.smallest(64)), shallow.space.smallest(64)
    batch = make_batch(64)
    everywhere = replace(batch, ignored=(torch.tensor([[0.0, 0.0, 1.0, 1.0]]),) * 4)
    (trained,), (left_out,) = step(network, batch, subnet), step(network, everywhere, subnet)
    assert left_out.classification < trained.classification
    assert left_out.box == trained.box
