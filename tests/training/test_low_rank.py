from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ofa_det.arch.description import ModelDescription, PostProcessConfig
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.levels import ssd_anchor_sizes
from ofa_det.arch.low_rank import LayerRank, halves, largest_rank, pointwise_layers
from ofa_det.arch.space import SearchSpace
from ofa_det.artefacts.records import read_yaml
from ofa_det.data.anchors import AnchorConfig
from ofa_det.data.splits import DataConfig, open_split
from ofa_det.latency.model import latency_model
from ofa_det.latency.predict import PredictLatencyConfig, predict_latency
from ofa_det.models.fake_quantization import read_ranges
from ofa_det.models.low_rank import kept_energy
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import load_detector, save_model
from ofa_det.training.config import TrainConfig
from ofa_det.training.low_rank import LEAST_SHARE, LowRankConfig, RankOption, chosen, low_rank_to_train
from ofa_det.training.quantization import QuantizeConfig
from ofa_det.training.run import train
from ofa_det.training.schedule import PhaseConfig, ScheduleConfig


def option(layer: str, rank: int, lost: float, saved_ms: float) -> RankOption:
    return RankOption(layer=layer, rank=rank, lost=lost, saved_ms=saved_ms)


A16, A8 = option("a", 16, 0.02, 1.0), option("a", 8, 0.10, 1.4)
B16, B8 = option("b", 16, 0.05, 2.0), option("b", 8, 0.09, 2.4)
OPTIONS = (A8, A16, B8, B16)


@pytest.mark.parametrize(
    ("needed_ms", "expected"),
    [
        (float("inf"), (A8, B8)),
        # a at 16 saves 50 ms for all its energy, b at 16 40, b at 8 26.7, a at 8 14.
        (0.5, (A16,)),
        (1.0, (A16,)),
        # Behind it b at 16 saves 40, at 8 26.7.
        (1.1, (A16, B16)),
        (3.0, (A16, B16)),
        # Of 0.4 more, b gives 10 ms for its energy, a 5.
        (3.1, (A16, B8)),
        (3.5, (A8, B8)),
    ],
)
def test_each_step_saves_most_for_what_it_loses(needed_ms: float, expected: tuple[RankOption, ...]) -> None:
    assert set(chosen(OPTIONS, needed_ms)) == set(expected)


def test_the_last_step_loses_no_more_than_it_must() -> None:
    """The best rate would be 20 ms for 0.2, but 5 ms are enough."""
    small, large = option("a", 16, 0.1, 5.0), option("a", 8, 0.2, 20.0)
    assert chosen((large, small), 5.0) == (small,)
    assert chosen((large, small), 5.1) == (large,)
    assert chosen((), 5.0) == ()


@pytest.fixture(scope="module")
def detector(tiny_root: Path, tiny_space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder; each singular value of a 1x1 convolution has nine tenths of the one before."""
    torch.manual_seed(0)
    subnet, categories = tiny_space.smallest(64), open_split(DataConfig(root=str(tiny_root)), "train").categories
    config = DetectorConfig.of(tiny_space, num_classes=len(categories), anchor_sizes=ssd_anchor_sizes())
    network = Detector(config, subnet)
    for layer in pointwise_layers(network.plan(subnet)):
        weight = network.convolutions[layer.name].weights(layer)[0]
        left, values, right = torch.linalg.svd(weight.detach()[:, :, 0, 0], full_matrices=False)
        decayed = values[0] * 0.9 ** torch.arange(len(values))
        with torch.no_grad():
            weight.copy_((left * decayed @ right)[:, :, None, None])
    description = ModelDescription(
        detector=config, subnet=subnet, categories=categories, postprocess=PostProcessConfig()
    )
    folder = tmp_path_factory.mktemp("runs") / "det"
    save_model(folder, description, network)
    return folder


@pytest.fixture(scope="module")
def lower(detector: Path, tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A training with layers of low rank."""
    return TrainConfig(
        data=DataConfig(root=str(tiny_root)),
        output=str(tmp_path_factory.mktemp("low_rank") / "low_rank"),
        low_rank=LowRankConfig(detector=str(detector), energy=0.6),
        schedule=ScheduleConfig(num_images=16, batch_size=4, warmup_images=4, learning_rate=1e-4),
        num_workers=0,
        calibration_images=4,
        checkpoint_every=8,
        accelerator="cpu",
    )


@pytest.fixture(scope="module")
def ranks(lower: TrainConfig) -> tuple[LayerRank, ...]:
    """Of the trained run folder."""
    train(lower, progress=False)
    return load_detector(lower.output).description.detector.ranks


def predicted_ms(model: object) -> float:
    (named,) = predict_latency(PredictLatencyConfig(model=str(model)))
    return named.prediction.mean_ms


def test_each_rank_is_the_lowest_that_keeps_enough(detector: Path, ranks: tuple[LayerRank, ...]) -> None:
    trained = load_detector(detector)
    network, shipped = trained.network, trained.description.shipped_plan(trained.network.subnet)
    model = latency_model()
    least_ms = LEAST_SHARE * model.estimate(shipped.layers).mean_ms
    expected = []
    for name, shares in kept_energy(network).items():
        multiples = [
            r for r in range(8, largest_rank(network.plan(network.subnet)[name]) + 1, 8) if shares[r - 1] >= 0.6
        ]
        ms = [
            model.estimate(layers).mean_ms
            for layers in ([shipped[name]], halves(shipped[name], min(multiples, default=1)))
        ]
        if multiples and ms[0] - ms[1] >= least_ms:
            expected.append(LayerRank(layer=name, rank=min(multiples)))
    assert len(expected) >= 3
    assert ranks == tuple(expected)


def test_the_latency_falls_as_the_layers_say(detector: Path, lower: TrainConfig, ranks: tuple[LayerRank, ...]) -> None:
    shipped = load_detector(detector).description.shipped_plan(load_detector(detector).network.subnet)
    model = latency_model()
    saved = sum(
        model.estimate([shipped[each.layer]]).mean_ms - model.estimate(halves(shipped[each.layer], each.rank)).mean_ms
        for each in ranks
    )
    assert saved > 0.05
    assert predicted_ms(detector) - predicted_ms(lower.output) == pytest.approx(saved, rel=1e-6)


def test_the_weights_trained_and_the_folder_says_how(lower: TrainConfig, ranks: tuple[LayerRank, ...]) -> None:
    options = read_yaml(f"{lower.output}/config.yaml")
    assert options["low_rank"]["energy"] == 0.6
    assert "space" not in options
    assert load_detector(lower.output).network.convolutions[f"{ranks[0].layer}_reduced"].bias.any()


def test_a_target_is_met_with_less_lost(detector: Path, lower: TrainConfig, ranks: tuple[LayerRank, ...]) -> None:
    trained, (now_ms, reach_ms) = load_detector(detector), map(predicted_ms, (detector, lower.output))
    target = replace(lower.low_rank, latency_ms=(now_ms + reach_ms) / 2)
    found = low_rank_to_train(trained, target).description.detector.ranks
    everything = {each.layer: each.rank for each in ranks}
    assert all(each.rank >= everything[each.layer] for each in found)
    model, shipped = latency_model(), trained.description.shipped_plan(trained.network.subnet)
    saved = sum(
        model.estimate([shipped[each.layer]]).mean_ms - model.estimate(halves(shipped[each.layer], each.rank)).mean_ms
        for each in found
    )
    assert (now_ms - reach_ms) / 2 <= saved < now_ms - reach_ms
    for latency_ms, message in (
        (
            reach_ms - 0.1,
            r"latency_ms of at least .*, the lowest that keeps energy 0\.6, found .*; lower low_rank\.ene",
        ),
        (now_ms, "latency_ms below .*, what is predicted without, found"),
    ):
        with pytest.raises(ValueError, match=message):
            low_rank_to_train(trained, replace(target, latency_ms=latency_ms))


def test_named_layers_alone(detector: Path, lower: TrainConfig, ranks: tuple[LayerRank, ...]) -> None:
    trained, config = load_detector(detector), replace(lower.low_rank, layers=("neck.", "backbone.last"))
    found = low_rank_to_train(trained, config).description.detector.ranks
    assert found == tuple(each for each in ranks if each.layer.startswith(("neck.", "backbone.last")))
    assert 1 < len(found) < len(ranks)
    for changes, message in (
        ({"layers": ("neck.", "nekc")}, r"low_rank\.layers to begin names of 1x1 .*, such as .*, found 'nekc'"),
        ({"energy": 1.0}, r"expected 1x1 convolutions that keep energy 1 at a rank .* none; lower low_rank\.energy"),
    ):
        with pytest.raises(ValueError, match=message):
            low_rank_to_train(trained, replace(config, **changes))
    with pytest.raises(ValueError, match=r"expected a detector without layers of low rank in .*det, found \d+; begin"):
        low_rank_to_train(load_detector(lower.output), config)


def test_quantization_goes_on_from_it(lower: TrainConfig, ranks: tuple[LayerRank, ...], tmp_path: Path) -> None:
    config = replace(
        lower, low_rank=LowRankConfig(), quantize=QuantizeConfig(detector=lower.output), output=str(tmp_path / "qat")
    )
    train(config, progress=False)
    assert load_detector(config.output).description.detector.ranks == ranks
    assert {f"{each.layer}_reduced" for each in ranks} <= read_ranges(config.output).keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subnet": "r64 k3e1"}, "expected no --subnet with --low_rank.detector"),
        ({"pretrained": "efficientnet_lite0"}, "expected no --pretrained with --low_rank.detector"),
        ({"anchors": AnchorConfig(count=2)}, "expected no --anchors with --low_rank.detector"),
        (
            {"schedule": ScheduleConfig(num_images=100, phases=(PhaseConfig(num_images=100),))},
            "expected no schedule.phases with --low_rank.detector, found 1",
        ),
        (
            {"quantize": QuantizeConfig(detector="runs/det")},
            "expected either --low_rank.detector or --quantize.detector",
        ),
    ],
)
def test_what_comes_with_the_detector_is_not_given_again(
    lower: TrainConfig, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        replace(lower, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"energy": 1.5}, r"energy in \[0, 1\], found 1\.5"), ({"latency_ms": 0.0}, "latency_ms > 0, found 0")],
)
def test_options_are_checked(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LowRankConfig(**changes)
