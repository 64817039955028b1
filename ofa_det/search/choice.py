"""Which subnet is chosen under a cap, how sure its AP is, and whether that beats the control."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.evaluations import Evaluation, ResampledAp
from ofa_det.search.genes import FloatArray
from ofa_det.search.problem import SearchProblem, costs_of

NOISE = 2.0
"""Standard errors within which two AP are not told apart."""


@dataclass(frozen=True, kw_only=True)
class RescoreConfig:
    """How the candidates of most promise are scored again.

    Args:
        candidates: the best of the search under each cap; the largest subnet under it joins them.
        share: part of the held-out images that the search does not score on, and this scoring does; 0 scores again on
            the images of the search.
        calibration_images: training images for batch-norm statistics; more than the search's.
        resamples: draws of the images with replacement, whose spread is the standard error of AP.
    """

    candidates: int = 4
    share: float = 0.5
    calibration_images: int = 256
    resamples: int = 200

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ValueError(f"expected candidates >= 1, found {self.candidates}")
        if not 0 <= self.share < 1:
            raise ValueError(f"expected 0 <= share < 1, found {self.share}")
        if self.calibration_images < 2:
            raise ValueError(f"expected calibration_images >= 2, found {self.calibration_images}")
        if self.resamples < 2:
            raise ValueError(f"expected resamples >= 2, found {self.resamples}")


@dataclass(frozen=True, kw_only=True)
class Rescored:
    """AP with its standard error, by bootstrap over the images."""

    ap: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What a search gives for one cap.

    Args:
        cap_ms: the cap.
        best: evaluation of the chosen subnet in the search.
        rescored: its AP on the other images.
        control: evaluation of the largest subnet under the cap, by multiply-accumulates.
        control_rescored: its AP on the other images.
        difference: AP of the best less that of the control, both rescored, with the error of the difference on the same
            draws of images.
    """

    cap_ms: float
    best: Evaluation
    rescored: Rescored
    control: Evaluation
    control_rescored: Rescored
    difference: Rescored

    @property
    def within_noise(self) -> bool:
        """Whether the best is no better than the control by `NOISE` standard errors."""
        return self.difference.ap <= NOISE * self.difference.error


def choose(
    problem: SearchProblem,
    evaluations: Sequence[Evaluation],
    controls: Mapping[float, SubnetConfig],
    *,
    candidates: int,
    known: ResampledAp,
    measure: Callable[[Sequence[SubnetConfig]], Iterator[tuple[float, ...]]],
    progress: bool = False,
) -> tuple[tuple[Choice, ...], Mapping[SubnetConfig, Rescored]]:
    """Scores the most promising again and chooses among them.

    Args:
        problem: what was searched.
        evaluations: of the search, the controls among them.
        controls: by cap, the largest subnet under it.
        candidates: the best of the search that are scored again for each cap.
        known: AP and its resamples, which is asked first; takes what is measured.
        measure: gives them for subnets, in their order.
        progress: show a progress bar.

    Returns:
        A choice for each cap, and all that was scored again.
    """
    of_subnet = {evaluation.subnet: evaluation for evaluation in evaluations}
    tried = {
        cap_ms: list(dict.fromkeys([e.subnet for e in problem.best(evaluations, cap_ms)[:candidates]] + [control]))
        for cap_ms, control in controls.items()
    }
    wanted = dict.fromkeys(subnet for subnets in tried.values() for subnet in subnets)
    unknown = [subnet for subnet in wanted if known.get(subnet) is None]
    measuring = tqdm(measure(unknown), total=len(unknown), desc="score again", unit="subnet", disable=not progress)
    for subnet, resampled in zip(unknown, measuring, strict=True):
        known.add(subnet, resampled)
    drawn = {subnet: np.array(known.get(subnet)) for subnet in wanted}
    choices = []
    for cap_ms, subnets in tried.items():
        ap = np.array([drawn[subnet][0] for subnet in subnets])
        values = problem.values(ap, np.array([costs_of(of_subnet[subnet]) for subnet in subnets]), cap_ms)
        order = sorted(range(len(subnets)), key=lambda i: (-values[i], of_subnet[subnets[i]].latency_ms, subnets[i]))
        best, control = subnets[order[0]], controls[cap_ms]
        choices.append(
            Choice(
                cap_ms=cap_ms,
                best=of_subnet[best],
                rescored=_rescored(drawn[best]),
                control=of_subnet[control],
                control_rescored=_rescored(drawn[control]),
                difference=_rescored(drawn[best] - drawn[control]),
            )
        )
    return tuple(choices), {subnet: _rescored(found) for subnet, found in drawn.items()}


def _rescored(drawn: FloatArray) -> Rescored:
    return Rescored(ap=float(drawn[0]), error=float(np.nanstd(drawn[1:], ddof=1)))
