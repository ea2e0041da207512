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
    its 95 % interval [low, high]. `p_for` and `p_against` are two-sided, of the tests that would support and
    refute the claim; `p_adjusted` is the one that decided, adjusted over all claims of the report. `verdict` is
    supported, refuted, inconclusive, or not tested for the `reason` given."""

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
    p_for: float = math.nan
    p_against: float = math.nan
    p_adjusted: float = math.nan


@dataclass(frozen=True)
class Difference:
    """Welch's comparison of two means: effect, standard error, degrees of freedom (Welch 1947)."""

    effect: float
    error: float
    freedom: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the effect."""
        half = stats.t.ppf(1 - ALPHA / 2, self.freedom) * self.error
        return self.effect - half, self.effect + half

    def p_above(self, bound: float) -> float:
        """p, two-sided, against the hypothesis that the true effect is `bound` or less."""
        return min(1.0, 2 * float(stats.t.sf((self.effect - bound) / self.error, self.freedom)))

    def p_below(self, bound: float) -> float:
        """p, two-sided, against the hypothesis that the true effect is `bound` or more."""
        return min(1.0, 2 * float(stats.t.cdf((self.effect - bound) / self.error, self.freedom)))


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
    """Variance of a sample, not below that of rounding to `resolution`."""
    return max(float(np.var(values, ddof=1)), resolution**2 / 12)


def judge(reports: Iterable[tuple[PlannedStudy, pd.DataFrame]]) -> list[Verdict]:
    """A verdict on every claim of a report's studies, its p values adjusted over all of them."""
    verdicts, claims = [], []
    for planned, runs in reports:
        for name, claim in planned.study.claims.items():
            verdicts.append(compare(planned, name, claim, runs))
            claims.append(claim)
    tested = [i for i, verdict in enumerate(verdicts) if verdict.verdict != "not tested"]
    adjusted = adjust([(verdicts[i].p_for, verdicts[i].p_against) for i in tested])
    for i, (p_for, p_against) in zip(tested, adjusted, strict=True):
        verdicts[i] = decide(claims[i], verdicts[i], p_for, p_against)
    return verdicts


def compare(planned: PlannedStudy, name: str, claim: Claim, runs: pd.DataFrame) -> Verdict:
    """The comparison that a claim asks for, not yet judged. `greater` is supported by an effect above 0 and
    refuted by one below the margin; `not_greater` the other way round."""
    try:
        arm, than = (values(planned, runs, side, claim.metric) for side in (claim.arm, claim.than))
    except UserError as error:
        return Verdict(planned.name, name, "not tested", str(error))
    if min(len(arm), len(than)) < 2:
        return Verdict(
            planned.name, name, "not tested", f"{len(arm)} and {len(than)} runs; 2 of each are needed"
        )
    if claim.metric == "images_per_second" and (ways := differently_executed(planned, runs, claim)):
        return Verdict(planned.name, name, "not tested", f"the speed of runs executed differently: {ways}")
    difference = welch(arm, than, resolution(runs, claim.metric))
    p = (difference.p_above(0), difference.p_below(claim.margin))
    p_for, p_against = p if claim.kind == "greater" else reversed(p)
    sizes = (len(arm), len(than), float(arm.mean()), float(than.mean()))
    return Verdict(
        planned.name, name, "", "", *sizes, difference.effect, *difference.interval, p_for, p_against
    )


def adjust(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Holm's step-down method (1979) over both tests of every claim, with Shaffer's multipliers (1986): of a
    claim's two hypotheses, effect <= 0 and effect >= margin, at most one is true, so that of 2 m hypotheses m
    can be."""
    flat = [p for pair in pairs for p in pair]
    adjusted, highest = [0.0] * len(flat), 0.0
    for rank, i in enumerate(sorted(range(len(flat)), key=flat.__getitem__)):
        highest = max(highest, min(1.0, min(len(pairs), len(flat) - rank) * flat[i]))
        adjusted[i] = highest
    return list(zip(adjusted[::2], adjusted[1::2], strict=True))


def decide(claim: Claim, v: Verdict, p_for: float, p_against: float) -> Verdict:
    """An effect that is there must also reach the margin to matter: for `greater` to be supported, and for
    `not_greater` to be refuted."""
    matters = v.effect >= claim.margin
    supported = p_for < ALPHA and (matters or claim.kind == "not_greater")
    refuted = p_against < ALPHA and (matters or claim.kind == "greater")
    if refuted and not supported:
        return replace(v, verdict="refuted", p_adjusted=p_against)
    return replace(v, verdict="supported" if supported else "inconclusive", p_adjusted=p_for)


def values(planned: PlannedStudy, runs: pd.DataFrame, levels: dict[str, Scalar], metric: str) -> np.ndarray:
    """The metric of every run of one arm. UserError where the suite has no such arm."""
    keys = list(planned.select(levels))
    if not keys:
        raise UserError(f"the study skips {', '.join(f'{name} = {value}' for name, value in levels.items())}")
    (key,) = keys
    return of_arm(planned, runs, key)[metric].to_numpy(float)


def of_arm(planned: PlannedStudy, runs: pd.DataFrame, key: tuple[str, ...]) -> pd.DataFrame:
    """The rows of the arm at these levels."""
    return runs[(runs[list(planned.factors)].astype(str) == pd.Series(planned.levels(key))).all(axis=1)]


EXECUTION = ["device", "threads", "execution", "at_once"]


def differently_executed(planned: PlannedStudy, runs: pd.DataFrame, claim: Claim) -> str:
    """How the runs of a claim's two arms were executed, where that was not the same for all of them."""
    sides = (of_arm(planned, runs, *planned.select(levels)) for levels in (claim.arm, claim.than))
    ways = pd.concat(sides)[EXECUTION].drop_duplicates()
    return "" if len(ways) == 1 else "; ".join(", ".join(map(str, way)) for way in ways.to_numpy())


def resolution(runs: pd.DataFrame, metric: str) -> float:
    """The smallest difference that a metric can show: one image for errors, as good as none for losses."""
    split, _, what = metric.partition("_")
    return 100 / runs[f"{split}_images"].max() if what == "error" else 1e-6
