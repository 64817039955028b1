"""Predicts the AP of a subnet from few measured ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.linear_model import BayesianRidge, Ridge

from ofa_det.search.costs import LATENCY, MACS, PARAMETERS
from ofa_det.search.genes import FloatArray, Genes
from ofa_det.search.problem import SearchProblem

FREE_SUBNETS: Final = 2_000
"""Random subnets whose free statistics the predictor is pretrained on."""

_FREE: Final = [LATENCY, MACS, PARAMETERS]
_FREE_WEIGHT: Final = 3.0
"""The prior of a free statistic against that of a choice: AP follows the statistics before it follows one choice."""
_LEAST_SCALE: Final = 0.05


class Pretraining:
    """What free statistics say of the choices (FBNetV3, section 3.2).

    A linear regression of the logarithms of latency, multiply-accumulates and parameters on the choices, over random
    subnets that nobody has to measure. A choice that moves them much is expected to move AP much: the features of a
    predictor are scaled by it, which is a prior. So is that a kernel size, an expand ratio or a kind is worth much the
    same in every block: the shares of the blocks that have it are features of their own.

    Args:
        problem: of the subnets.
        seed: of the random subnets.
    """

    def __init__(self, problem: SearchProblem, *, seed: int) -> None:
        self._coding = problem.coding
        genes = self._coding.sample(np.random.default_rng(seed), FREE_SUBNETS)
        choices, free = self._coding.features(genes), np.log(problem.table(genes)[:, _FREE])
        shared = self._coding.shares(genes)
        self._shared_mean, self._shared_std = shared.mean(axis=0), _std(shared)
        self._choice_mean, self._choice_std = choices.mean(axis=0), _std(choices)
        self._free_mean, self._free_std = free.mean(axis=0), _std(free)
        moved = Ridge(alpha=1e-3).fit(self._standard(choices), (free - self._free_mean) / self._free_std)
        scale = np.sqrt(np.square(np.atleast_2d(moved.coef_)).mean(axis=0))
        self._scale = np.maximum(scale / (np.sqrt(np.square(scale).mean()) or 1.0), _LEAST_SCALE)

    def features(self, genes: Genes, costs: FloatArray) -> FloatArray:
        """(N, F) scaled choices, shares of blocks, then free statistics, of genes (N, G) with costs (N, 5)."""
        choices = self._standard(self._coding.features(genes)) * self._scale
        shared = (self._coding.shares(genes) - self._shared_mean) / self._shared_std
        free = (np.log(costs[:, _FREE]) - self._free_mean) / self._free_std
        return np.concatenate([choices, shared, _FREE_WEIGHT * free], axis=1)

    def _standard(self, choices: FloatArray) -> FloatArray:
        return np.asarray((choices - self._choice_mean) / self._choice_std)


@dataclass(frozen=True, kw_only=True, eq=False)
class ApPredictor:
    """Bayesian linear regression of AP on the features of `Pretraining`.

    Args:
        pretraining: gives the features.
        mean, spread: of the measured AP.
        coefficients: (F,) of the standardised AP.
        intercept: likewise.
        covariance: (F, F) of the coefficients.
    """

    pretraining: Pretraining
    mean: float
    spread: float
    coefficients: FloatArray
    intercept: float
    covariance: FloatArray

    @classmethod
    def fit(cls, pretraining: Pretraining, genes: Genes, costs: FloatArray, ap: FloatArray) -> ApPredictor:
        """Of measured subnets: genes (N, G), costs (N, 5), AP (N,)."""
        mean, spread = float(ap.mean()), float(ap.std()) or 1.0
        model = BayesianRidge().fit(pretraining.features(genes, costs), (ap - mean) / spread)
        return cls(
            pretraining=pretraining,
            mean=mean,
            spread=spread,
            coefficients=np.asarray(model.coef_),
            intercept=float(model.intercept_),
            covariance=np.asarray(model.sigma_),
        )

    def __call__(self, genes: Genes, costs: FloatArray) -> FloatArray:
        """(N,) predicted AP."""
        return self._ap(genes, costs, self.coefficients)

    def drawn(self, rng: np.random.Generator) -> ApPredictor:
        """Another predictor that the measurements allow: its coefficients are drawn from their distribution."""
        coefficients = rng.multivariate_normal(self.coefficients, self.covariance, method="eigh")
        return ApPredictor(**{**vars(self), "coefficients": coefficients})

    def _ap(self, genes: Genes, costs: FloatArray, coefficients: FloatArray) -> FloatArray:
        standard = self.pretraining.features(genes, costs) @ coefficients + self.intercept
        return np.asarray(self.mean + self.spread * standard)


def _std(columns: FloatArray) -> FloatArray:
    found = columns.std(axis=0)
    return np.where(found > 0, found, 1.0)
