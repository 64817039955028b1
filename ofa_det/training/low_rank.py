"""Training of a detector some of whose pointwise convolutions are made two: which, and of what rank."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ofa_det.arch.classes import ClassNumbering, check_numbering
from ofa_det.arch.description import ModelDescription
from ofa_det.arch.low_rank import LayerRank, halves, largest_rank, pointwise_layers
from ofa_det.arch.plan import LayerPlan
from ofa_det.latency.model import LatencyModel, latency_model, shipped_work
from ofa_det.models.low_rank import KeptEnergy, factored, kept_energy
from ofa_det.models.network import Detector
from ofa_det.models.run_folder import Trained

logger = logging.getLogger(__name__)

RANK_STEP = 8
"""Ranks are multiples of it, as widths are; phones compute whole vectors of channels."""

LEAST_SHARE = 0.001
"""Of the network's milliseconds that a layer of low rank saves; less is not worth what it loses."""


@dataclass(frozen=True, kw_only=True)
class LowRankConfig:
    """Training of a detector whose 1x1 convolutions are made two of lower rank where that saves time.

    A rank keeps a share of a layer's energy: of the squared singular values of its weights behind the fold of the batch
    norm. It is taken only if it makes the file faster, by prediction.

    Args:
        detector: run folder of a trained detector to go on with; its subnet, space, anchors and postprocess come with
            it. Without one, no layer is of low rank.
        energy: least share that each layer keeps, 0 to 1. Without `latency_ms` each gets the lowest rank that does.
        latency_ms: predicted milliseconds of the uint8 file to come down to, post-processing included, where each step
            takes the layer and rank that save most for the least energy.
        layers: beginnings of the names of the layers that may be of low rank; none means all.
        device: phone whose latency is meant: pixel2, or a latency_table.json of calibrate_latency.
        classes: of the file's score columns, as export takes them: competition or compact.
    """

    detector: str | None = None
    energy: float = 0.8
    latency_ms: float | None = None
    layers: tuple[str, ...] = ()
    device: str = "pixel2"
    classes: ClassNumbering = "competition"

    def __post_init__(self) -> None:
        check_numbering(self.classes)
        if not 0 <= self.energy <= 1:
            raise ValueError(f"expected energy in [0, 1], found {self.energy}")
        if self.latency_ms is not None and not self.latency_ms > 0:
            raise ValueError(f"expected latency_ms > 0, found {self.latency_ms}")


@dataclass(frozen=True, kw_only=True)
class RankOption:
    """A rank that a layer may get.

    Args:
        layer: its name.
        rank: of its weights.
        lost: share of its energy that the rank does not keep.
        saved_ms: by which the network becomes faster.
    """

    layer: str
    rank: int
    lost: float
    saved_ms: float


def low_rank_to_train(trained: Trained[Detector], config: LowRankConfig) -> Trained[Detector]:
    """A trained detector with layers of low rank, as the config chooses them.

    Raises:
        ValueError: a detector that has some already, layers that there are none of, or a latency out of reach.
    """
    detector, description = trained.network, trained.description
    if detector.config.ranks:
        raise ValueError(
            f"expected a detector without layers of low rank in {config.detector}, found {len(detector.config.ranks)}; "
            "begin with the one that it was made of"
        )
    ranks = _ranks(detector, description, config)
    lower = factored(detector, ranks)
    described = replace(description, detector=lower.config)
    before, after = (_predicted_ms(each, detector, config) for each in (description, described))
    logger.info(
        "%d of %d 1x1 convolutions are made two: %.1f -> %.1f ms predicted on %s, %.1f -> %.1f M multiply-accumulates",
        len(ranks),
        len(pointwise_layers(detector.plan(detector.subnet))),
        before,
        after,
        config.device,
        *(each.shipped_plan(detector.subnet, config.classes).macs / 1e6 for each in (description, described)),
    )
    return Trained(network=lower, description=described)


def chosen(options: Sequence[RankOption], needed_ms: float = math.inf) -> tuple[RankOption, ...]:
    """At most one rank for each layer.

    Step by step the change of a layer that saves most milliseconds for the energy that it loses, until enough are saved
    or no step is left. The last is the one that loses least of those that save enough.

    Args:
        options: of all layers.
        needed_ms: to be saved.
    """
    taken: dict[str, RankOption] = {}
    missing = needed_ms

    def step(option: RankOption) -> tuple[float, float]:
        """Milliseconds and energy of taking it instead of what its layer has."""
        now = taken.get(option.layer)
        return option.saved_ms - (now.saved_ms if now else 0.0), option.lost - (now.lost if now else 0.0)

    def rate(option: RankOption) -> float:
        saved, lost = step(option)
        return saved / max(lost, 1e-9)

    while missing > 0:
        steps = [option for option in options if step(option)[0] > 0]
        if not steps:
            break
        best = max(steps, key=rate)
        enough = [option for option in steps if step(option)[0] >= missing]
        if best in enough:
            best = min(enough, key=lambda option: step(option)[1])
        missing -= step(best)[0]
        taken[best.layer] = best
    return tuple(taken.values())


def rank_options(
    plan: LayerPlan, shipped: LayerPlan, kept: KeptEnergy, model: LatencyModel, *, energy: float
) -> Iterator[RankOption]:
    """All ranks that keep enough and make the file faster.

    Args:
        plan: of the detector.
        shipped: of its file.
        kept: by the ranks of each layer that may be of low rank.
        model: of the file's latency.
        energy: least share that is kept.
    """
    least_ms = LEAST_SHARE * model.estimate(shipped.layers).mean_ms
    for name, shares in kept.items():
        before_ms = model.estimate([shipped[name]]).mean_ms
        for rank in range(RANK_STEP, largest_rank(plan[name]) + 1, RANK_STEP):
            if shares[rank - 1] < energy:
                continue
            saved_ms = before_ms - model.estimate(halves(shipped[name], rank)).mean_ms
            if saved_ms >= least_ms:
                yield RankOption(layer=name, rank=rank, lost=float(1 - shares[rank - 1]), saved_ms=saved_ms)


def _ranks(detector: Detector, description: ModelDescription, config: LowRankConfig) -> tuple[LayerRank, ...]:
    """In the order of the plan."""
    plan, shipped = detector.plan(detector.subnet), description.shipped_plan(detector.subnet, config.classes)
    kept = {name: shares for name, shares in kept_energy(detector).items() if name.startswith(config.layers or ("",))}
    for beginning in config.layers:
        if not any(name.startswith(beginning) for name in kept):
            raise ValueError(
                f"expected low_rank.layers to begin names of 1x1 convolutions, such as "
                f"{pointwise_layers(plan)[0].name}, found {beginning!r}"
            )
    model = latency_model(config.device)
    options = list(rank_options(plan, shipped, kept, model, energy=config.energy))
    if not options:
        raise ValueError(
            f"expected 1x1 convolutions that keep energy {config.energy:g} at a rank that makes them faster, found "
            "none; lower low_rank.energy"
        )
    if config.latency_ms is None:
        found = chosen(options)
    else:
        now_ms = _predicted_ms(description, detector, config)
        if config.latency_ms >= now_ms:
            raise ValueError(
                f"expected low_rank.latency_ms below {now_ms:.1f}, what is predicted without, found "
                f"{config.latency_ms:g}"
            )
        found = chosen(options, now_ms - config.latency_ms)
        reached_ms = now_ms - sum(option.saved_ms for option in found)
        if reached_ms > config.latency_ms + 1e-6:
            raise ValueError(
                f"expected low_rank.latency_ms of at least {reached_ms:.1f}, the lowest that keeps energy "
                f"{config.energy:g}, found {config.latency_ms:g}; lower low_rank.energy, or choose a smaller subnet"
            )
    rank_of = {option.layer: option.rank for option in found}
    return tuple(LayerRank(layer=name, rank=rank_of[name]) for name in kept if name in rank_of)


def _predicted_ms(description: ModelDescription, detector: Detector, config: LowRankConfig) -> float:
    model = latency_model(config.device)
    plan, tail = shipped_work(description, detector.subnet, precision=model.precision, numbering=config.classes)
    return model.estimate(plan.layers, tail).mean_ms
