"""Claims -> verdicts with effect, interval and adjusted p. Pure functions of the table of runs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from ablations.config import Claim, Scalar
from ablations.errors import UserError
from ablations.plan import PlannedStudy

ALPHA = 0.05


@dataclass(frozen=True)
class Verdict:
    """On a claim. `effect` is mean(arm) - mean(than) in the metric's unit, percentage points for errors, with
    its 95 % interval [low, high]; `p` is one-sided against the claim's null hypothesis, `p_adjusted` after Holm
    over all claims of the report. `verdict` is supported, refuted, inconclusive or not tested, for `reason`."""

    study: str
    claim: str
    verdict: str
    reason: str = ""
    n_arm: int = 0
    n_than: int = 0
    mean_arm: float = math.nan
    mean_than: float = math.nan
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_adjusted: float = math.nan


@dataclass(frozen=True)
class Difference:
    """Welch's comparison of two means: effect, standard error, degrees of freedom (Welch 1947)."""

    effect: float
    error: float
    freedom: float

    @property
    def interval(self) -> tuple[float, float]:
        half = stats.t.ppf(1 - ALPHA / 2, self.freedom) * self.error
        return self.effect - half, self.effect + half

    def p_above(self, bound: float) -> float:
        """One-sided p against the hypothesis that the true effect is `bound` or less."""
        return float(stats.t.sf((self.effect - bound) / self.error, self.freedom))

    def p_below(self, bound: float) -> float:
        """One-sided p against the hypothesis that the true effect is `bound` or more."""
        return float(stats.t.cdf((self.effect - bound) / self.error, self.freedom))


def welch(a: np.ndarray, b: np.ndarray, resolution: float) -> Difference:
    """mean(a) - mean(b) without assuming equal variances. No variance counts as less than that of rounding to
    `resolution` (resolution^2 / 12): seeds that agree to the last image do not prove a spread of zero."""
    spread = [floored_variance(x, resolution) / len(x) for x in (a, b)]
    freedom = sum(spread) ** 2 / sum(s**2 / (len(x) - 1) for s, x in zip(spread, (a, b), strict=True))
    return Difference(float(np.mean(a) - np.mean(b)), math.sqrt(sum(spread)), freedom)


def mean_interval(values: np.ndarray, resolution: float = 0.0) -> tuple[float, float, float]:
    """Mean with Student's 95 % interval over seeds, its variance not below that of rounding (see `welch`); the
    interval is NaN for a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan, math.nan
    error = math.sqrt(floored_variance(values, resolution) / len(values))
    half = stats.t.ppf(1 - ALPHA / 2, len(values) - 1) * error
    return mean, mean - half, mean + half


def floored_variance(values: np.ndarray, resolution: float) -> float:
    return max(float(np.var(values, ddof=1)), resolution**2 / 12)


def judge(reports: Iterable[tuple[PlannedStudy, pd.DataFrame]]) -> list[Verdict]:
    """A verdict on every claim of a report's studies. p values are adjusted by Holm's method over all of them."""
    from statsmodels.stats.multitest import multipletests

    tested = [
        (claim, test(planned, name, claim, runs))
        for planned, runs in reports
        for name, claim in planned.study.claims.items()
    ]
    p = [verdict.p for _, verdict in tested if verdict.verdict != "not tested"]
    adjusted = iter(multipletests(p, method="holm")[1] if p else [])
    return [
        verdict
        if verdict.verdict == "not tested"
        else decide(claim, replace(verdict, p_adjusted=float(next(adjusted))))
        for claim, verdict in tested
    ]


def test(planned: PlannedStudy, name: str, claim: Claim, runs: pd.DataFrame) -> Verdict:
    """The comparison that a claim asks for, not yet judged."""
    try:
        arm, than = (values(planned, runs, side, claim.metric) for side in (claim.arm, claim.than))
    except UserError as error:
        return Verdict(planned.name, name, "not tested", str(error))
    if min(len(arm), len(than)) < 2:
        return Verdict(
            planned.name, name, "not tested", f"{len(arm)} and {len(than)} runs; 2 of each are needed"
        )
    difference = welch(arm, than, resolution(runs, claim.metric))
    low, high = difference.interval
    p = difference.p_above(0) if claim.kind == "greater" else difference.p_below(claim.margin)
    sizes = (len(arm), len(than), float(arm.mean()), float(than.mean()))
    return Verdict(planned.name, name, "", "", *sizes, difference.effect, low, high, p)


def decide(claim: Claim, v: Verdict) -> Verdict:
    """`greater` is supported by a significant effect of at least the margin, and refuted where the interval
    excludes such an effect; `not_greater` the other way round."""
    significant = v.p_adjusted < ALPHA
    if claim.kind == "greater":
        supported, refuted = significant and v.effect >= claim.margin, v.high < claim.margin
    else:
        supported, refuted = significant, v.low > 0 and v.effect >= claim.margin
    return replace(v, verdict="supported" if supported else "refuted" if refuted else "inconclusive")


def values(planned: PlannedStudy, runs: pd.DataFrame, levels: dict[str, Scalar], metric: str) -> np.ndarray:
    """The metric of every run of one arm. UserError where the suite has no such arm."""
    (key,) = planned.select(levels)
    chosen = runs[(runs[list(planned.factors)].astype(str) == pd.Series(planned.levels(key))).all(axis=1)]
    return chosen[metric].dropna().to_numpy(float)


def resolution(runs: pd.DataFrame, metric: str) -> float:
    """The smallest difference that a metric can show: one image for errors, as good as none for losses."""
    split, _, what = metric.partition("_")
    return 100 / runs[f"{split}_images"].max() if what == "error" else 1e-6
