"""Weighted sums of arms' means, with Welch's intervals and tests; what they could have found. The distributions are those
of scipy.special: scipy.stats takes a second to import, in every job of the workflow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

ALPHA = 0.05
POWER = 0.8
FEW_SEEDS = 5  # an arm: with fewer, tests are made at half the level
MOST_SEEDS = 1000  # an arm, beyond which no number is told


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of arms' means. `terms` are weight^2 x variance of each arm, in the metric's unit squared, and
    `seeds` its number of runs, arms along the last axis. Simulations put many reports along the others."""

    effect: np.ndarray | float
    terms: np.ndarray
    seeds: np.ndarray

    @property
    def error(self) -> np.ndarray | float:
        """Standard error of the effect, variances not assumed equal (Welch 1947)."""
        return np.sqrt((self.terms / self.seeds).sum(axis=-1))

    @property
    def freedom(self) -> np.ndarray | float:
        """Degrees of freedom of that error (Satterthwaite 1946; Welch 1947)."""
        spread = self.terms / self.seeds
        return spread.sum(axis=-1) ** 2 / (spread**2 / (self.seeds - 1)).sum(axis=-1)

    @property
    def interval(self) -> tuple[np.ndarray | float, np.ndarray | float]:
        """The 95 % interval of the effect."""
        half = special.stdtrit(self.freedom, 1 - ALPHA / 2) * self.error
        return self.effect - half, self.effect + half

    @property
    def caution(self) -> np.ndarray | int:
        """What p values are multiplied by before they are adjusted: 2 where an arm has fewer than 5 runs. Deep in its
        tails Welch's test errs more often there where variances differ much: tests/benchmarks/coverage.py."""
        return np.where(self.seeds.min(axis=-1) < FEW_SEEDS, 2, 1)

    def p_above(self, bound: float) -> np.ndarray | float:
        """p, two-sided, against the hypothesis that the true effect is `bound` or less."""
        return np.minimum(1.0, 2 * special.stdtr(self.freedom, (bound - self.effect) / self.error))

    def p_below(self, bound: float) -> np.ndarray | float:
        """p, two-sided, against the hypothesis that the true effect is `bound` or more."""
        return np.minimum(1.0, 2 * special.stdtr(self.freedom, (self.effect - bound) / self.error))


def contrast(samples: Sequence[np.ndarray], weights: Sequence[float], resolution: float) -> Contrast:
    """The weighted sum of the samples' means, seeds along the last axis. No variance counts as less than that of
    rounding to `resolution` (resolution^2 / 12): seeds that agree to the last image do not prove a spread of zero."""
    effect = sum(weight * np.mean(x, axis=-1) for x, weight in zip(samples, weights, strict=True))
    terms = [w**2 * floored_variance(x, resolution) for x, w in zip(samples, weights, strict=True)]
    return Contrast(effect, np.stack(terms, axis=-1), np.array([x.shape[-1] for x in samples]))


def floored_variance(values: np.ndarray, resolution: float) -> np.ndarray | float:
    """Variance of a sample along the last axis, not below that of rounding to `resolution`."""
    return np.maximum(np.var(values, axis=-1, ddof=1), resolution**2 / 12)


def mean_interval(values: np.ndarray, resolution: float = 0.0) -> tuple[float, float, float]:
    """Mean with Student's 95 % interval over seeds, its variance not below that of rounding (see `contrast`); the
    interval is NaN for a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan, math.nan
    error = math.sqrt(floored_variance(values, resolution) / len(values))
    half = special.stdtrit(len(values) - 1, 1 - ALPHA / 2) * error
    return mean, mean - half, mean + half


def binomial_interval(error: float, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of an error measured on so many images, all in percent: how it could have come
    out on others drawn alike."""
    share, z = round(error / 100 * images) / images, special.ndtri(1 - ALPHA / 2)
    centre = share + z**2 / (2 * images)
    half = z * math.sqrt((share * (1 - share) + z**2 / (4 * images)) / images)
    low, high = (float(bound / (1 + z**2 / images)) for bound in (centre - half, centre + half))
    return 100 * max(0.0, low), 100 * min(1.0, high)


def linear_weights(levels: int) -> np.ndarray:
    """Weights of arms in the change along the least-squares line over their ranks, from the first to the last."""
    ranks = np.arange(levels) - (levels - 1) / 2
    return (levels - 1) * ranks / (ranks**2).sum()


# ------------------------------------------------------------------------------------------ what could be found


def detectable(c: Contrast, level: float) -> float:
    """The smallest true effect told apart from 0 with probability 0.8 by a two-sided test at `level`, at the spread
    seen: the noncentrality of t that gives this power (Johnson and Welch 1940), in standard errors."""
    limit = -special.stdtrit(c.freedom, level / 2)
    return float(special.nctdtrinc(c.freedom, 1 - POWER, limit) * c.error)


def seeds_needed(c: Contrast, distance: float, level: float) -> float:
    """Seeds an arm with which a true effect at this distance from the bound of its test is found with probability
    0.8 at `level`, below 5 seeds at half of it, at the spread seen; NaN where 1,000 do not do."""
    seeds = np.arange(2, MOST_SEEDS + 1)
    planned = replace(c, seeds=seeds[:, None])
    limit = -special.stdtrit(planned.freedom, level / planned.caution / 2)
    power = 1 - special.nctdtr(planned.freedom, distance / planned.error, limit)
    enough = seeds[power >= POWER]
    return float(enough[0]) if len(enough) else math.nan
