"""Claims -> verdicts with effect, interval and adjusted p. Pure functions of the table of runs.

Every claim asks for a contrast, a weighted sum of arms' means: two arms, two groups of arms, a straight line over the
levels of a factor, a difference of differences. Welch's standard error and Satterthwaite's degrees of freedom serve
all of them, at any number of seeds: tests/benchmarks/coverage.py shows why neither moderated variances nor the bootstrap,
permutations or pairs of seeds take their place; permutations and the bootstrap are told beside it.

Runs that diverge count with the error of guessing. Where others of their arm trained, one such number decides over mean
and spread: a verdict then has to hold without the diverged runs as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ablations.config import Claim, Levels, Scalar, label, listed, listing, named, words
from ablations.contrasts import (
    ALPHA,
    Contrast,
    binomial_interval,
    contrast,
    detectable,
    linear_weights,
    seeds_needed,
)
from ablations.errors import UserError
from ablations.plan import Plan, PlannedStudy
from ablations.resampling import FEWEST, Permuted, bca_interval

# How claims of each kind are supported, and how refuted.
METHODS = {
    "greater": ("Welch's t", "Welch's t"),
    "less": ("Welch's t", "Welch's t"),
    "not_greater": ("Welch's t, non-inferiority", "Welch's t"),
    "equivalent": ("Welch's t, two one-sided", "Welch's t"),
    "fails": ("Student's t", "Student's t"),
    "trend": ("Welch's t of a linear contrast", "Welch's t of a linear contrast"),
    "crossover": ("Welch's t, intersection-union", "Welch's t, Bonferroni"),
}
# What a p value is against: an effect of 0 or less, of the margin or more, of less than the margin.
NONE, MATTERS, SMALL = "no effect", "an effect that matters", "an effect too small to matter"
# Metrics that seeds do not change: their claims are settled by comparing numbers, without a test.
COUNTED = {"macs", "norm_ops", "parameters", "activations"}
# Metrics of the machine as much as of the arm.
MEASURED_ON_THE_MACHINE = {
    "images_per_second", "milliseconds_per_step", "seconds", "seconds_to_target", "peak_memory_mb",
}  # fmt: skip
EXECUTION = ["device", "threads", "execution", "at_once"]
# The smallest difference in metrics that come in steps: an epoch, a page of memory (4,096 bytes).
STEPS = {"epochs_trained": 1.0, "measured_epoch": 1.0, "peak_memory_mb": 0.004096}
MOST_ARMS = 4  # whose missing seeds are listed

Key = tuple[str, ...]  # of an arm: a level of each factor


@dataclass(frozen=True)
class Verdict:
    """On a claim, in the metric's unit, percentage points for errors. `effect` with its 95 % interval [low, high] is
    mean(arm) - mean(than); of `fails`, mean(arm) - threshold; of a trend, the change along the straight line from
    the first to the last level, `means` being those of its levels in their order; of a crossover, the difference of
    the differences `effect_first` and `effect_second`, each with an interval of its own.

    `p_for` and `p_against` are two-sided, of the tests that would support and refute the claim; `p` is the one of
    them that decided, of an inconclusive claim the one that its effect points to, `against` the hypothesis that it
    is against, `method` its test, and `p_adjusted` the same, doubled where an arm has fewer than 5 runs, and adjusted
    over the claims of the suite. From 6 runs of each arm on, `p_permuted` is that of the permutation test against the
    same hypothesis, and [bca_low, bca_high] the bootstrap interval of the effect; both decide nothing.

    `verdict` is supported, refuted, inconclusive, or not tested, for the `reason` given; an inconclusive one has a
    reason where diverged runs make it so. `n_arm` and `n_than` are the runs of its two sides, of a crossover at the
    level that has fewer. Of all its arms, `runs` of the `planned` runs are there; `diverged` of them diverged,
    `partly_diverged` in arms of which other runs trained, and `effect_trained` is the effect without these, with its
    interval. `correlation` is that of the two arms over their seeds.

    Of an inconclusive claim, `detectable` is the distance of a true effect from the bound of its test, 0 or the
    margin, that is found with probability 0.8 at the strictest level, 0.05 over the number of claims adjusted for
    (half of it below 5 runs an arm), and `seeds_needed` the seeds an arm that would settle the claim with that
    probability if the effect is as large as seen; NaN where that takes more than 1,000. A claim on numbers that seeds
    do not change is settled by comparing them: its `method` is exact, its interval the effect, p 0 and in no
    adjustment."""

    study: str
    claim: str
    verdict: str
    reason: str = ""
    method: str = ""
    n_arm: int = 0
    n_than: int = 0
    runs: int = 0
    planned: int = 0
    diverged: int = 0
    partly_diverged: int = 0
    mean_arm: float = math.nan
    mean_than: float = math.nan
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    means: str = ""
    effect_first: float = math.nan
    low_first: float = math.nan
    high_first: float = math.nan
    effect_second: float = math.nan
    low_second: float = math.nan
    high_second: float = math.nan
    effect_trained: float = math.nan
    low_trained: float = math.nan
    high_trained: float = math.nan
    p_for: float = math.nan
    p_against: float = math.nan
    p: float = math.nan
    against: str = ""
    p_adjusted: float = math.nan
    p_permuted: float = math.nan
    bca_low: float = math.nan
    bca_high: float = math.nan
    correlation: float = math.nan
    detectable: float = math.nan
    seeds_needed: float = math.nan


# ------------------------------------------------------------------------------------------ claims


@dataclass(frozen=True)
class Comparison:
    """What the runs say on a claim, before p values are adjusted over the report. `aligned` are its contrasts, one
    or, of a crossover, two, turned so that the direction that the claim is about is up; none where it is not tested.
    `trained` are the same without the runs that diverged while others of their arm trained; none where fewer than 2
    of an arm are left. `permuted` are the first with permutation tests, from 6 runs of each arm on."""

    claim: Claim
    verdict: Verdict
    aligned: tuple[Contrast, ...] = ()
    trained: tuple[Contrast, ...] = ()
    permuted: tuple[Permuted, ...] = ()

    @property
    def in_family(self) -> bool:
        """Whether the claim is tested, so that its p values are adjusted with those of the others."""
        return bool(self.aligned) and self.claim.metric not in COUNTED


def matters(claim: Claim, turned: Sequence[Contrast]) -> np.ndarray | bool:
    """Whether the effect seen reaches the margin; of a crossover, both differences."""
    return np.all([c.effect >= claim.margin for c in turned], axis=0)


def unsettled(claim: Claim, turned: Sequence[Contrast]) -> tuple[Contrast, float]:
    """The contrast that a clear verdict waits for, and its distance from the bound that its test is to reject: 0 for
    an effect that matters, else the margin; of a claim of absence always the margin."""
    if claim.of_absence:
        (only,) = turned
        return only, abs(float(only.effect) - claim.margin)
    if matters(claim, turned):
        weakest = max(turned, key=lambda c: c.p_above(0))
        return weakest, float(weakest.effect)
    smallest = min(turned, key=lambda c: c.p_below(claim.margin))
    return smallest, claim.margin - float(smallest.effect)


def family(plan: Plan, name: str) -> int:
    """Over how many claims the p values of a report are adjusted: all that the suite tests, whatever is trained of
    them."""
    return sum(claim.metric not in COUNTED for claim in plan.family(name))


def judge(reports: Iterable[tuple[PlannedStudy, pd.DataFrame]], family: int) -> list[Verdict]:
    """A verdict on every claim of a report's studies, its p values adjusted over a family of so many claims. Those
    that are not in this report or could not be tested count as not rejected, with p = 1: tested later or elsewhere,
    they withdraw no verdict."""
    compared = [
        compare(planned, name, claim, runs)
        for planned, runs in reports
        for name, claim in planned.study.claims.items()
    ]
    with_all = adjusted(compared, [c.aligned for c in compared], family)
    without = adjusted(compared, [c.trained for c in compared], family)
    level = ALPHA / max(1, family)
    return [
        decide(c, *p, level) if c.aligned else c.verdict
        for c, *p in zip(compared, with_all, without, strict=True)
    ]


def adjusted(
    compared: Sequence[Comparison], readings: Sequence[Sequence[Contrast]], family: int
) -> np.ndarray:
    """p of the tests that support and refute each claim (claims, 2) by these contrasts of it, 1 where there are none;
    those of claims that are tested are adjusted over a family of so many."""
    p = np.ones((len(compared), 2))
    for i, (c, contrasts) in enumerate(zip(compared, readings, strict=True)):
        if contrasts:
            p[i] = cautious(p_values(c.claim, contrasts), contrasts)
    tested = np.array([c.in_family for c in compared], dtype=bool)
    others = np.ones((family - tested.sum(), 2))
    p[tested] = adjust(np.concatenate([p[tested], others]))[: tested.sum()]
    return p


def compare(planned: PlannedStudy, name: str, claim: Claim, runs: pd.DataFrame) -> Comparison:
    """The comparison that a claim asks for, not yet judged."""
    try:
        differences = weighted_arms(planned, claim)
        arms = comparable_arms(planned, runs, claim, sum_of_weights(differences))
    except UserError as error:
        return Comparison(claim, Verdict(planned.name, name, "not tested", str(error)))
    samples = {key: arm[claim.metric] for key, arm in arms.items()}
    read = trained = Reading(claim, samples, differences, resolution(runs, claim.metric))
    numbers, number_of = read.numbers, counts(planned, arms)
    if number_of["partly_diverged"] and claim.metric not in COUNTED:
        trained = replace(
            read, samples={key: sample[~diverged_apart(arms[key])] for key, sample in samples.items()}
        )
        if trained.aligned:
            numbers |= with_interval(trained.effect, "_trained")
    p_for, p_against = map(float, p_values(claim, read.aligned))
    verdict = Verdict(
        study=planned.name,
        claim=name,
        verdict="",
        method="exact" if claim.metric in COUNTED else "",
        **sides(claim, differences, samples),
        **number_of,
        **numbers,
        p_for=p_for,
        p_against=p_against,
    )
    return Comparison(claim, verdict, read.aligned, trained.aligned, read.permuted)


@dataclass(frozen=True)
class Reading:
    """Runs to read a claim from: the metric's values of each arm, by seed, and the weights of the arms, of a crossover
    in each of its two differences. No variance counts as less than that of rounding to `resolution`."""

    claim: Claim
    samples: Mapping[Key, pd.Series]
    differences: Sequence[Mapping[Key, float]]
    resolution: float

    def weighted(self, weights: Mapping[Key, float]) -> Contrast:
        """The contrast of arms with these weights; of `fails`, above the threshold."""
        arms = [self.samples[key].to_numpy(float) for key in weights]
        c = contrast(arms, [*weights.values()], self.resolution)
        return replace(c, effect=c.effect - (self.claim.threshold or 0.0))

    @property
    def effect(self) -> Contrast:
        """The effect that is shown."""
        return self.weighted(sum_of_weights(self.differences))

    @property
    def contrasts(self) -> list[Contrast]:
        """The contrast that is tested, of a crossover both."""
        return [self.weighted(weights) for weights in self.differences]

    @property
    def aligned(self) -> tuple[Contrast, ...]:
        """The same with the direction that the claim is about upwards; none where an arm has fewer than 2 runs."""
        return aligned(self.claim, self.contrasts) if self.fewest >= 2 else ()

    @property
    def fewest(self) -> int:
        """Runs of the arm that has the fewest."""
        return min(map(len, self.samples.values()))

    @property
    def resampled(self) -> bool:
        """Whether permutations and the bootstrap are told beside Welch's test."""
        return self.fewest >= FEWEST and self.claim.metric not in COUNTED

    @property
    def permuted(self) -> tuple[Permuted, ...]:
        """The aligned contrasts with permutation tests, where they are told."""
        if not self.resampled:
            return ()
        return tuple(
            self.permutation(weights, sign)
            for weights, sign in zip(self.differences, signs(self.claim, self.contrasts), strict=True)
        )

    def permutation(self, weights: Mapping[Key, float], sign: int) -> Permuted:
        """The permutation test of the contrast with these weights, times the sign."""
        turned = sign * np.array([*weights.values()])
        arms = [self.samples[key].to_numpy(float) - (self.claim.threshold or 0.0) for key in weights]

        def t(*samples: np.ndarray, axis: int) -> np.ndarray:
            c = contrast(samples, turned, self.resolution)
            return c.effect / c.error

        return Permuted(arms, turned, t)

    @property
    def numbers(self) -> dict[str, float]:
        """The effect with its intervals, of a crossover those of both differences, as a verdict has them."""
        exact = self.claim.metric in COUNTED
        numbers = with_interval(self.effect, exact=exact)
        if self.claim.kind == "crossover":
            first, second = self.contrasts
            numbers |= with_interval(first, "_first", exact) | with_interval(second, "_second", exact)
        if self.resampled:
            weights = sum_of_weights(self.differences)
            low, high = bca_interval(
                [self.samples[key].to_numpy(float) for key in weights], [*weights.values()]
            )
            threshold = self.claim.threshold or 0.0
            numbers |= {"bca_low": low - threshold, "bca_high": high - threshold}
        return numbers


def with_interval(c: Contrast, ending: str = "", exact: bool = False) -> dict[str, float]:
    """An effect with its interval, as a verdict has them; that of numbers without spread is the effect."""
    effect = float(c.effect)
    low, high = (effect, effect) if exact else map(float, c.interval)
    return {f"effect{ending}": effect, f"low{ending}": low, f"high{ending}": high}


def comparable_arms(
    planned: PlannedStudy, runs: pd.DataFrame, claim: Claim, keys: Iterable[Key]
) -> dict[Key, pd.DataFrame]:
    """The rows of each of these arms, by seed. UserError where an arm has fewer than 2 runs, or its runs lack the
    claim's metric, or the metric depends on how runs were executed and that differs."""
    arms = {key: of_arm(planned, runs, key).set_index("seed") for key in keys}
    if min(map(len, arms.values())) < 2:
        lacking = missing(replace(planned, arms={key: planned.arms[key] for key in arms}), runs)
        told = f"missing: {listed_arms(lacking)}" if lacking else f"{len(planned.seeds)} planned"
        raise UserError(f"2 runs of each arm are needed; {told}")
    metric, _ = named(claim.metric)
    whole = pd.concat(arms.values())
    without = whole[~np.isfinite(whole[claim.metric].astype(float))]
    if len(without):
        why = " (diverged)" if (without["status"] == "diverged").all() else ""
        raise UserError(f"{len(without)} of {len(whole)} runs have no {metric}{why}")
    if claim.metric in MEASURED_ON_THE_MACHINE:
        ways = whole[EXECUTION].drop_duplicates()
        if len(ways) > 1:
            told = "; ".join(", ".join(map(str, way)) for way in ways.to_numpy())
            raise UserError(f"{metric} of runs executed differently: {told}")
    return arms


def counts(planned: PlannedStudy, arms: Mapping[Key, pd.DataFrame]) -> dict[str, int]:
    """How many runs of these arms there are, were planned, diverged, and diverged where others of their arm did not."""
    diverged = {key: int((arm["status"] == "diverged").sum()) for key, arm in arms.items()}
    return {
        "runs": sum(map(len, arms.values())),
        "planned": len(arms) * len(planned.seeds),
        "diverged": sum(diverged.values()),
        "partly_diverged": sum(int(diverged_apart(arm).sum()) for arm in arms.values()),
    }


def diverged_apart(arm: pd.DataFrame) -> pd.Series:
    """Which runs of an arm diverged while others of it trained. A run whose last training error is that of guessing,
    but for chance (Wilson's interval), did not train: it failed as they did."""
    diverged = arm["status"] == "diverged"
    guessing = arm["train_error"][diverged].max() if diverged.any() else 0.0
    trained = (
        binomial_interval(run.train_error, run.train_images)[1] < guessing
        for run in arm[~diverged].itertuples()
        if guessing
    )
    return diverged & any(trained)


def weighted_arms(planned: PlannedStudy, claim: Claim) -> list[dict[Key, float]]:
    """The arms of a claim's contrast with their weights; of a crossover, of its two differences. Arms of a group
    weigh the same. UserError where the suite has no such arm."""
    match claim.kind:
        case "fails":
            return [group(planned, claim.arm)]
        case "trend":
            arms = group(planned, claim.arm)
            if len(arms) < 2:
                raise UserError(f"factor {claim.factor} has only one level in this suite")
            return [dict(zip(arms, linear_weights(len(arms)), strict=True))]
        case "crossover":
            first, second = (difference(planned, claim, {claim.factor: level}) for level in claim.at)
            if first.keys() & second.keys():
                raise UserError(f"the two levels of {claim.factor} are the same in this suite")
            return [first, second]
        case _:
            return [difference(planned, claim, {})]


def difference(planned: PlannedStudy, claim: Claim, at: Mapping[str, Scalar]) -> dict[Key, float]:
    """Weights of mean(arm) - mean(than), both at these further levels. UserError where they share an arm: `last` can
    be any level in a suite."""
    arm, than = (group(planned, {**side, **at}) for side in (claim.arm, claim.than))
    if arm.keys() & than.keys():
        raise UserError("`arm` and `than` are the same arm in this suite, or share one")
    return arm | {key: -weight for key, weight in than.items()}


def group(planned: PlannedStudy, levels: Mapping[str, Levels]) -> dict[Key, float]:
    """The arms at these levels, sharing a weight of 1. UserError where the suite has none."""
    keys = list(planned.select(levels))
    if not keys:
        named = ", ".join(
            f"{name} = {' or '.join(map(label, listed(value)))}" for name, value in levels.items()
        )
        raise UserError(f"the study skips {named}")
    return dict.fromkeys(keys, 1 / len(keys))


def sum_of_weights(differences: Sequence[Mapping[Key, float]]) -> dict[Key, float]:
    """Weights of the effect that is shown: the contrast itself, of a crossover the difference of its differences."""
    first, *others = differences
    return dict(first) | {key: -weight for other in others for key, weight in other.items()}


def aligned(claim: Claim, contrasts: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """The contrasts with the direction that the claim is about upwards."""
    pairs = zip(contrasts, signs(claim, contrasts), strict=True)
    return tuple(replace(c, effect=sign * c.effect) for c, sign in pairs)


def signs(claim: Claim, contrasts: Sequence[Contrast]) -> list[np.ndarray | int]:
    """What turns each contrast: -1 where the claim is about the direction downwards. `equivalent` takes the direction
    that was seen, which makes of its two one-sided tests (Schuirmann 1987) the one that decides."""
    if claim.kind == "equivalent":
        return [np.where(contrasts[0].effect < 0, -1, 1)]
    if claim.kind == "crossover":
        return [1, -1]
    return [-1 if claim.kind == "less" or claim.direction == "falls" else 1]


def p_values(
    claim: Claim, turned: Sequence[Contrast | Permuted]
) -> tuple[np.ndarray | float, np.ndarray | float]:
    """p of the tests that support and refute a claim, of aligned contrasts. Numbers that seeds do not change are
    compared: p is 0 or 1."""
    if claim.metric in COUNTED:
        effect = min(float(c.effect) for c in turned)
        there = effect > 0 and effect >= claim.margin
        return float(there == claim.of_absence), float(there != claim.of_absence)
    tests = p_there(claim, turned), p_not_there(claim, turned)
    return tests[::-1] if claim.of_absence else tests


def p_there(claim: Claim, turned: Sequence[Contrast | Permuted]) -> np.ndarray | float:
    """p that tells an effect: against 0 or less, to refute a claim that none matters, against less than the margin. A
    crossover needs both of its differences, each at the full level (intersection-union test, Berger 1982)."""
    return np.max([c.p_above(claim.margin if claim.of_absence else 0) for c in turned], axis=0)


def p_not_there(claim: Claim, turned: Sequence[Contrast | Permuted]) -> np.ndarray | float:
    """p that tells the absence of an effect that matters: against the margin or more. A crossover lacks one where
    either of its differences is excluded (Bonferroni)."""
    return np.minimum(1.0, len(turned) * np.min([c.p_below(claim.margin) for c in turned], axis=0))


def cautious(p: np.ndarray, turned: Sequence[Contrast]) -> np.ndarray:
    """p of both tests of a claim, along the last axis, as they are adjusted: see `Contrast.caution`."""
    return np.minimum(1.0, caution(turned)[..., None] * np.asarray(p))


def caution(turned: Sequence[Contrast]) -> np.ndarray:
    """What p values of a claim are multiplied by: see `Contrast.caution`."""
    return np.max([c.caution for c in turned], axis=0)


def sides(
    claim: Claim, differences: Sequence[Mapping[Key, float]], samples: Mapping[Key, pd.Series]
) -> dict[str, Any]:
    """Runs and mean of the two sides of a claim, and their correlation over seeds where each is one arm. Of a trend
    they are its last and its first level, beside the means of all, of `fails` the second is the threshold, of a
    crossover means over both levels."""
    groups = [
        [[samples[key] for key, weight in weights.items() if sign * weight > 0] for sign in (1, -1)]
        for weights in differences
    ]
    if claim.kind == "trend":
        first, *_, last = samples.values()
        groups = [[[last], [first]]]
    told = {
        side: min(sum(map(len, pair[place])) for pair in groups)
        for place, side in enumerate(("n_arm", "n_than"))
    }
    arm, than = ([sample for pair in groups for sample in pair[place]] for place in (0, 1))
    if claim.kind == "trend":
        told["means"] = " ".join(f"{sample.mean():.6g}" for sample in samples.values())
    told["mean_arm"] = float(np.mean([sample.mean() for sample in arm]))
    told["mean_than"] = claim.threshold if not than else float(np.mean([sample.mean() for sample in than]))
    if len(arm) == len(than) == 1:
        told["correlation"] = correlation(arm[0], than[0])
    return told


def correlation(a: pd.Series, b: pd.Series) -> float:
    """Pearson's, of two arms over the seeds that both have; NaN for fewer than 3 of them or without spread."""
    pairs = pd.concat([a, b], axis=1, join="inner").to_numpy(float)
    if len(pairs) < 3 or (pairs.std(axis=0) == 0).any():
        return math.nan
    return float(np.corrcoef(pairs.T)[0, 1])


def adjust(p: np.ndarray) -> np.ndarray:
    """Holm's step-down method (1979) over both tests of every claim, with Shaffer's multipliers (1986); `p` is (...,
    claims, 2). Of a claim's two hypotheses, no effect (of absence: less than the margin) and the margin or more, at most
    one is true, so that of 2 m hypotheses m can be. Where they meet, p values being two-sided leaves half of the level
    to each. Where a margin keeps them apart one-sided ones would do, but for unequal variances and few seeds, which
    take the half that is left over: tests/benchmarks/coverage.py."""
    claims = p.shape[-2]
    flat = p.reshape(*p.shape[:-2], 2 * claims)
    order = np.argsort(flat, axis=-1, kind="stable")
    multipliers = np.minimum(claims, 2 * claims - np.arange(2 * claims))
    rising = np.maximum.accumulate(multipliers * np.take_along_axis(flat, order, axis=-1), axis=-1)
    found = np.empty_like(flat)
    np.put_along_axis(found, order, np.minimum(1.0, rising), axis=-1)
    return found.reshape(p.shape)


def decide(c: Comparison, with_all: np.ndarray, without: np.ndarray, level: float) -> Verdict:
    """A verdict from adjusted p values of its two tests, with all runs and without those that diverged while others of
    their arm trained; with the test that it comes from. `level` is the strictest of the report."""
    absence = c.claim.of_absence
    first, second = settled(c.claim, c.aligned, *with_all), settled(c.claim, c.trained, *without)
    verdict = str(agreed(first, second))
    points_for = verdict == "supported" or (
        verdict == "inconclusive" and bool(matters(c.claim, c.aligned)) != absence
    )
    decided = replace(
        c.verdict,
        verdict=verdict,
        p=c.verdict.p_for if points_for else c.verdict.p_against,
        p_adjusted=float(with_all[0 if points_for else 1]),
    )
    if c.in_family:
        method, refuting = METHODS[c.claim.kind]
        against = (MATTERS if points_for else SMALL) if absence else (NONE if points_for else MATTERS)
        decided = replace(decided, method=method if points_for else refuting, against=against)
    if c.permuted:
        test = p_there if points_for != absence else p_not_there
        decided = replace(decided, p_permuted=float(test(c.claim, c.permuted)))
    if verdict != "inconclusive":
        return decided
    if first != second:
        told = f"without them {second}" if c.trained else "without them fewer than 2 of an arm are left"
        decided = replace(decided, reason=f"{first} with its diverged runs, {told}")
    waiting = c.aligned if first == "inconclusive" else c.trained
    if not waiting or "inconclusive" not in (first, second):
        return decided
    least_clear, distance = unsettled(c.claim, waiting)
    if not absence and not matters(c.claim, waiting):
        level /= len(waiting)  # as `p_not_there` asks
    return replace(
        decided,
        detectable=detectable(least_clear, level / caution(waiting)),
        seeds_needed=seeds_needed(least_clear, distance, level),
    )


def settled(
    claim: Claim, turned: Sequence[Contrast], p_for: np.ndarray | float, p_against: np.ndarray | float
) -> np.ndarray:
    """What adjusted p values say of a claim. To support that there is an effect, the one seen must also matter."""
    there = np.less(p_for, ALPHA) & (claim.of_absence | matters(claim, turned))
    return np.select([there, np.less(p_against, ALPHA)], ["supported", "refuted"], "inconclusive")


def agreed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The verdict in which both readings of a claim agree, with and without diverged runs; without one, none."""
    return np.where(first == second, first, "inconclusive")


def of_arm(planned: PlannedStudy, runs: pd.DataFrame, key: tuple[str, ...]) -> pd.DataFrame:
    """The rows of the arm at these levels."""
    return runs[(runs[list(planned.factors)].astype(str) == pd.Series(planned.levels(key))).all(axis=1)]


def missing(planned: PlannedStudy, runs: pd.DataFrame) -> list[tuple[dict[str, str], list[int]]]:
    """The arms that lack runs, by their levels, with the seeds that they lack."""
    lacking = (
        (planned.levels(key), sorted(set(planned.seeds) - set(of_arm(planned, runs, key)["seed"])))
        for key in planned.arms
    )
    return [(levels, seeds) for levels, seeds in lacking if seeds]


def listed_arms(lacking: Sequence[tuple[Mapping[str, str], Sequence[int]]]) -> str:
    """Arms with the seeds that they lack, in words; beyond the first few only their number."""
    told = [
        f"{', '.join(f'{words(factor)} {level}' for factor, level in levels.items())} ({listed_seeds(seeds)})"
        for levels, seeds in lacking[:MOST_ARMS]
    ]
    more = len(lacking) - len(told)
    return "; ".join(told) + (f"; and {more} more arm{'s' if more > 1 else ''}" if more else "")


def listed_seeds(seeds: Sequence[int]) -> str:
    """Seeds, rising, in words: `seeds 0 to 4`, `seeds 1, 3 and 4`."""
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seed{'s' if len(seeds) > 1 else ''} {listing([*map(str, seeds)])}"


def resolution(runs: pd.DataFrame, metric: str) -> float:
    """The smallest difference that a metric can show: one image for errors, one of either split for their gap, an
    epoch, a page of memory; as good as none for others."""
    if metric == "gap":
        return math.hypot(*(resolution(runs, f"{split}_error") for split in ("train", "test")))
    split, _, what = metric.partition("_")
    return 100 / runs[f"{split}_images"].max() if what == "error" else STEPS.get(metric, 1e-6)
