"""What int8 takes from the AP of a subnet, predicted from a few that were scored both ways (APQ; Wang et al. 2020).

Differs from the paper: its second predictor is a network that begins with the weights of the first and learns from
thousands of quantized subnets; here it is a Bayesian linear regression of the gap itself, on a dozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ofa_det.arch.subnet import SubnetConfig
from ofa_det.search.genes import FloatArray, Genes
from ofa_det.search.predictor import ApPredictor, Pretraining
from ofa_det.search.problem import SearchProblem
from ofa_det.search.random_search import RandomConfig, RandomSearch

LEAST_GAP_SUBNETS: Final = 4

_SPREAD: Final = RandomConfig(min_fill=0.4)


@dataclass(frozen=True, kw_only=True)
class GapFit:
    """How well the gap of a subnet is known from the others.

    Args:
        float_ap, int8_ap: of the subnets scored both ways, as fractions.
        predicted: gap of each, by the predictor of all the others.
    """

    float_ap: tuple[float, ...]
    int8_ap: tuple[float, ...]
    predicted: tuple[float, ...]

    @property
    def gaps(self) -> FloatArray:
        """(N,) int8 less float, as fractions."""
        return np.subtract(self.int8_ap, self.float_ap)

    @property
    def error(self) -> float:
        """Root mean square error of the predictor, each subnet left out in turn."""
        return float(np.sqrt(np.mean(np.square(self.gaps - self.predicted))))

    @property
    def error_of_mean(self) -> float:
        """The same of the mean gap of the others."""
        gaps = self.gaps
        others = (gaps.sum() - gaps) / (len(gaps) - 1)
        return float(np.sqrt(np.mean(np.square(gaps - others))))

    @property
    def by_architecture(self) -> bool:
        """Whether the predictor is used: it is better than the mean of all."""
        return self.error < self.error_of_mean

    def __str__(self) -> str:
        """`float and -1.20 AP (-2.00 to -0.50) in 12 subnets scored both ways; ...`."""
        gaps = 100 * self.gaps
        used = "its architecture" if self.by_architecture else "the mean of the others"
        left_out, other = sorted((self.error, self.error_of_mean))
        name = "that mean" if self.by_architecture else "its architecture"
        return (
            f"float and {gaps.mean():+.2f} AP ({gaps.min():+.2f} to {gaps.max():+.2f}) in {len(gaps)} subnets scored "
            f"both ways; a subnet's is predicted from {used}, left out within {100 * left_out:.2f} AP (root mean "
            f"square; from {name} within {100 * other:.2f})"
        )


class GapPredictor:
    """Predicts what int8 takes from the AP of a subnet: by its architecture where that helps, else the mean.

    Args:
        problem: gives features and costs.
        subnets: that were scored both ways.
        float_ap, int8_ap: their AP, as fractions.
        seed: of the pretraining.
    """

    def __init__(
        self,
        problem: SearchProblem,
        subnets: Sequence[SubnetConfig],
        *,
        float_ap: Sequence[float],
        int8_ap: Sequence[float],
        seed: int,
    ) -> None:
        self._problem = problem
        self.subnets = tuple(subnets)
        self._float_ap, self._int8_ap = tuple(float_ap), tuple(int8_ap)
        self._pretraining = Pretraining(problem, seed=seed)
        self._known: Mapping[SubnetConfig, float] = dict(zip(subnets, int8_ap, strict=True))

    @cached_property
    def fit(self) -> GapFit:
        """With each subnet left out in turn."""
        everyone = np.arange(len(self.subnets))
        left_out = [self._of(everyone != number)(*self._rows(everyone == number)) for number in everyone]
        predicted = tuple(float(gap) for (gap,) in left_out)
        return GapFit(float_ap=self._float_ap, int8_ap=self._int8_ap, predicted=predicted)

    def int8_ap(self, subnet: SubnetConfig, float_ap: float) -> float:
        """AP in int8 of a subnet of this float AP; as measured, if it was."""
        if (known := self._known.get(subnet)) is not None:
            return known
        if not self.fit.by_architecture:
            return float(float_ap + self.fit.gaps.mean())
        genes = self._problem.coding.encode([subnet])
        (gap,) = self._all(genes, np.array([self._problem.costs(subnet)])).tolist()
        return float_ap + float(gap)

    @cached_property
    def _all(self) -> ApPredictor:
        return self._of(np.ones(len(self.subnets), bool))

    def _of(self, which: NDArray[np.bool_]) -> ApPredictor:
        gaps = np.subtract(self._int8_ap, self._float_ap)[which]
        return ApPredictor.fit(self._pretraining, *self._rows(which), gaps)

    def _rows(self, which: NDArray[np.bool_]) -> tuple[Genes, FloatArray]:
        chosen = [subnet for subnet, taken in zip(self.subnets, which, strict=True) if taken]
        return self._problem.coding.encode(chosen), np.array([self._problem.costs(subnet) for subnet in chosen])


def gap_subnets(problem: SearchProblem, count: int, *, seed: int) -> list[SubnetConfig]:
    """Subnets to score both ways, spread over the space below the caps.

    Raises:
        ValueError: the caps allow fewer.
    """
    found = RandomSearch(problem, config=_SPREAD, seed=seed).ask(count)
    if len(found) < count:
        raise ValueError(f"expected {count} subnets under the caps for score.gap_subnets, found {len(found)}")
    return found
