import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from torch import Tensor

from ofa_det.arch.detector import DetectorConfig
from ofa_det.data.batch import Batch
from ofa_det.models.network import DetectionNetwork, Detector
from ofa_det.models.ranks import ALONE
from ofa_det.models.supernet import Supernet
from ofa_det.training import loop
from ofa_det.training.config import TrainConfig
from ofa_det.training.loop import run_loop
from ofa_det.training.metrics_log import MetricsLog
from ofa_det.training.optimiser import TrainingStep, new_optimizer, step_subnets
from ofa_det.training.state import CHECKPOINT_FILE, load_checkpoint, save_checkpoint

NewConfig = Callable[..., TrainConfig]
MakeBatch = Callable[..., Batch]


@dataclass
class Training:
    """Runs the loop on made-up batches."""

    shallow: DetectorConfig
    make_batch: MakeBatch
    broken_step: int | None = None
    validated: list[tuple[int, float]] = field(default_factory=list)

    def network(self, *, static: bool = False) -> DetectionNetwork:
        torch.manual_seed(0)
        space = self.shallow.space
        return Detector(self.shallow, space.largest(), space.resolutions) if static else Supernet(self.shallow)

    def run(self, network: DetectionNetwork, config: TrainConfig, fabric: Fabric | None = None) -> DetectionNetwork:
        def batches(first_step: int) -> Iterator[Batch]:
            for step in range(first_step, config.schedule.num_steps):
                if step == self.broken_step:
                    raise KeyboardInterrupt
                yield self.make_batch(step_subnets(network, config, step).resolution, seed=step)

        return run_loop(
            network,
            config,
            identity={"model": network.config},
            fabric=fabric or Fabric(accelerator="cpu", devices=1, precision=config.schedule.precision),
            batches=batches,
            validate=self.validate,
            progress=False,
        )

    def validate(self, network: DetectionNetwork, images: int, log: MetricsLog) -> Mapping[str, float]:
        assert not network.training
        self.validated.append((images, float(next(network.parameters()).detach().sum())))
        return {"AP": 0.25}


@pytest.fixture
def training(shallow: DetectorConfig, make_batch: MakeBatch) -> Training:
    return Training(shallow, make_batch)


def values(network: DetectionNetwork) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def records(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("static", [False, True], ids=["supernet", "detector"])
def test_weights_are_trained_averaged_and_validated(
    training: Training, new_config: NewConfig, tmp_path: Path, static: bool
) -> None:
    network = training.network(static=static)
    before = values(network)
    config = new_config(tmp_path, validate_every=8)
    assert {step_subnets(network, config, step).resolution for step in range(4)} == {64, 96}
    averaged = training.run(network, config)
    assert not averaged.training
    moved = [name for name, value in values(network).items() if not torch.equal(value, before[name])]
    assert "head.levels.0.score.project.weight" in moved
    assert not same(values(averaged), values(network))
    assert [images for images, _ in training.validated] == [8, 16]
    assert training.validated[-1][1] == float(next(averaged.parameters()).detach().sum())
    last, scored = records(tmp_path)[-2:]
    assert (last["step"], last["images"]) == (3, 16)
    assert last["loss"] > 0
    assert scored == {"step": 3, "images": 16, "AP": 0.25}


def test_without_decay_the_average_is_the_last_step(training: Training, new_config: NewConfig, tmp_path: Path) -> None:
    network = training.network()
    assert same(values(training.run(network, new_config(tmp_path, ema_decay=0.0))), values(network))


def test_convolution_weights_alone_decay(training: Training, new_config: NewConfig, tmp_path: Path) -> None:
    networks = [training.network() for _ in range(2)]
    for network, decay in zip(networks, (0.0, 0.5), strict=True):
        training.run(network, new_config(tmp_path / str(decay), weight_decay=decay, num_images=4))
    without, decayed = map(values, networks)
    differing = {name for name, value in without.items() if not torch.equal(value, decayed[name])}
    assert "backbone.stem.weight" in differing
    assert not any(part in name for name in differing for part in ("norm", "bias", "transforms"))


@pytest.mark.parametrize("static", [False, True], ids=["supernet", "detector"])
def test_an_interrupted_loop_goes_on_to_the_same_weights(
    training: Training, new_config: NewConfig, tmp_path: Path, static: bool
) -> None:
    whole = training.run(training.network(static=static), new_config(tmp_path / "whole"))
    config = new_config(tmp_path / "resumed")
    with pytest.raises(KeyboardInterrupt):
        replace(training, broken_step=2).run(training.network(static=static), config)
    torch.manual_seed(1)
    other = training.network(static=static)
    with torch.no_grad():
        next(other.parameters()).zero_()  # overwritten by what was saved
    assert same(values(training.run(other, config)), values(whole))
    again = training.run(training.network(static=static), config)  # nothing is left to do
    assert same(values(again), values(whole))


def test_a_slow_loop_keeps_its_state_by_time(
    training: Training, new_config: NewConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = new_config(tmp_path, checkpoint_every=1_000)
    slow = replace(training, broken_step=3)
    with pytest.raises(KeyboardInterrupt):
        slow.run(training.network(), config)
    assert not (tmp_path / CHECKPOINT_FILE).exists()
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        slow.run(training.network(), config)
    assert load_checkpoint(tmp_path)["next_step"] == 3


def test_a_checkpoint_of_another_network_is_not_continued(
    training: Training, new_config: NewConfig, tmp_path: Path
) -> None:
    config = new_config(tmp_path)
    training.run(training.network(), config)
    other = replace(training, shallow=replace(training.shallow, num_classes=4))
    with pytest.raises(ValueError, match=r"expected model.* .*last\.ckpt.*data, supernet or space have changed"):
        other.run(other.network(), config)


def broken_gradient(network: DetectionNetwork) -> None:
    network.get_parameter("backbone.last.weight").register_hook(lambda gradient: gradient / 0)


def broken_loss(network: DetectionNetwork) -> None:
    with torch.no_grad():
        network.get_parameter("head.levels.1.score.project.bias").fill_(torch.inf)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (broken_gradient, r"losses and gradients, found \[\d.* and a gradient of norm (nan|inf)"),
        (broken_loss, r"losses and gradients, found \[(nan|inf)"),
    ],
)
@pytest.mark.parametrize("static", [False, True], ids=["supernet", "detector"])
def test_what_is_not_finite_ends_the_training_before_the_weights_change(
    training: Training,
    new_config: NewConfig,
    tmp_path: Path,
    break_it: Callable[[DetectionNetwork], None],
    message: str,
    static: bool,
) -> None:
    config = new_config(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        replace(training, broken_step=2).run(training.network(static=static), config)
    before = (tmp_path / "last.ckpt").read_bytes()
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["next_step"] == 2

    network = training.network(static=static)
    broken: dict[str, Tensor] = {}

    def breaking(first_step: int) -> Iterable[Batch]:
        break_it(network)
        broken.update(values(network))
        return (training.make_batch(step_subnets(network, config, s).resolution) for s in range(first_step, 4))

    with pytest.raises(ValueError, match=rf"{message}.* at step 2; lower schedule\.learning_rate"):
        run_loop(
            network,
            config,
            identity={"model": network.config},
            fabric=Fabric(accelerator="cpu", devices=1),
            batches=breaking,
            validate=training.validate,
            progress=False,
        )
    assert same(values(network), broken)
    assert (tmp_path / "last.ckpt").read_bytes() == before


@pytest.mark.parametrize("static", [False, True], ids=["supernet", "detector"])
def test_reduced_precision_trains(training: Training, new_config: NewConfig, tmp_path: Path, static: bool) -> None:
    # At 96 px alone: oneDNN's bf16 gradient of a depthwise kernel that reaches past a whole map is not defined.
    space = replace(training.shallow.space, resolutions=(96,))
    training = replace(training, shallow=replace(training.shallow, space=space))
    found = {}
    for precision in ("32-true", "bf16-mixed"):
        config = new_config(tmp_path / precision, precision=precision, num_images=4)
        network = training.network(static=static)
        training.run(network, config)
        (found[precision],) = (record["loss"] for record in records(tmp_path / precision) if "loss" in record)
        assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    assert found["bf16-mixed"] != found["32-true"]
    assert found["bf16-mixed"] == pytest.approx(found["32-true"], rel=0.1)


@pytest.mark.parametrize("static", [False, True], ids=["supernet", "detector"])
def test_the_scaler_of_half_precision_goes_on_too(
    training: Training, new_config: NewConfig, tmp_path: Path, static: bool
) -> None:
    """On a CPU, for which Fabric makes no scaler of its own."""
    config = new_config(tmp_path, precision="16-mixed", num_images=8)
    for number in range(2):
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
        precision = MixedPrecision("16-mixed", "cpu", scaler)
        training.run(training.network(static=static), config, fabric=Fabric(accelerator="cpu", plugins=[precision]))
        assert scaler.get_scale() == 32, number  # Twice doubled, then loaded, with no step left to do.


def test_a_checkpoint_from_before_scalers_were_kept_goes_on(
    training: Training, new_config: NewConfig, tmp_path: Path
) -> None:
    config = new_config(tmp_path)
    whole = training.run(training.network(), config)
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state.pop("precision") == {}
    save_checkpoint(tmp_path, state)
    assert same(values(training.run(training.network(), config)), values(whole))


@pytest.mark.parametrize("static", [False, True], ids=["supernet", "detector"])
def test_a_batch_may_be_trained_in_parts(
    training: Training, new_config: NewConfig, tmp_path: Path, static: bool
) -> None:
    """The statistics of each part's batch norm are its own, so it is another training, and not far from the whole."""
    found = {}
    for accumulate in (1, 2):
        config = new_config(tmp_path / str(accumulate), accumulate=accumulate, num_images=4)
        training.run(training.network(static=static), config)
        (found[accumulate],) = (record["loss"] for record in records(tmp_path / str(accumulate)) if "loss" in record)
    assert found[2] != found[1]
    assert found[2] == pytest.approx(found[1], rel=0.1)


@pytest.mark.parametrize("static", [False, True], ids=["supernet", "detector"])
def test_a_step_in_parts_is_the_whole_step_where_batch_norm_does_not_mix_images(
    training: Training, make_batch: MakeBatch, new_config: NewConfig, tmp_path: Path, static: bool
) -> None:
    """In eval mode batch norm takes its kept statistics, so that every image is computed by itself."""
    fabric, found = Fabric(accelerator="cpu", devices=1), {}
    for accumulate in (1, 2):
        network = training.network(static=static)
        config = new_config(tmp_path, accumulate=accumulate, clip_norm=1e9)
        module, optimizer = fabric.setup(network, new_optimizer(network, config.schedule, fabric))
        network.eval()
        step_once = TrainingStep(network, module, optimizer, fabric, config, ALONE)
        losses = step_once(0, make_batch(step_subnets(network, config, 0).resolution))
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        found[accumulate] = (losses, gradients)
    (losses, gradients), (losses_in_parts, gradients_in_parts) = found[1], found[2]
    assert len(losses) == (1 if static else 3)
    assert all(gradient.abs().max() > 0 for name, gradient in gradients.items() if "score" in name)
    torch.testing.assert_close(losses_in_parts, losses, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients_in_parts, gradients, rtol=1e-4, atol=1e-6)
