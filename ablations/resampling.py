"""Permutation tests and bootstrap intervals of weighted sums of arms' means, all by scipy. They are told beside Welch's
test from six seeds an arm on, and decide nothing: tests/benchmarks/coverage.py shows why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 6  # seeds of each arm: of fewer, even the exact test of one arm, by its signs, cannot reach 0.05
RESAMPLES = 4999  # drawn, always the same ones, where there are more permutations; and for every bootstrap


@dataclass(frozen=True)
class Permuted:
    """A weighted sum of the means of arms, `samples`, tested by exchanging runs between them; that of a single arm by
    changing signs. `t` gives the statistic of samples, runs along the last axis, in standard errors: so studentised,
    the test holds for many runs even where variances differ (Janssen 1997)."""

    samples: Sequence[np.ndarray]
    weights: np.ndarray
    t: Callable[..., np.ndarray]

    def p_above(self, bound: float) -> float:
        """p, two-sided, against the hypothesis that the true effect is `bound` or less."""
        return self.p(bound, "greater")

    def p_below(self, bound: float) -> float:
        """p, two-sided, against the hypothesis that the true effect is `bound` or more."""
        return self.p(bound, "less")

    def p(self, bound: float, alternative: str) -> float:
        """Exact where there are no more than 4,999 permutations. The arms are moved so that their effect shrinks by
        `bound`."""
        from scipy import stats  # a second, which only claims on six runs an arm and more take

        shifts = bound * self.weights / (self.weights**2).sum()
        test = stats.permutation_test(
            [sample - shift for sample, shift in zip(self.samples, shifts, strict=True)],
            self.t,
            permutation_type="samples" if len(self.samples) == 1 else "independent",
            vectorized=True,
            n_resamples=RESAMPLES,
            alternative=alternative,
            rng=0,
        )
        return min(1.0, 2 * float(test.pvalue))


def bca_interval(samples: Sequence[np.ndarray], weights: Sequence[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of a weighted sum of the samples' means, corrected for bias and skewness (Efron
    1987); NaN where no sample has a spread."""
    from scipy import stats

    if all(np.ptp(sample) == 0 for sample in samples):
        return np.nan, np.nan

    def effect(*resampled: np.ndarray, axis: int) -> np.ndarray:
        return sum(weight * x.mean(axis) for weight, x in zip(weights, resampled, strict=True))

    bootstrap = stats.bootstrap(samples, effect, method="BCa", n_resamples=RESAMPLES, vectorized=True, rng=0)
    return float(bootstrap.confidence_interval.low), float(bootstrap.confidence_interval.high)
