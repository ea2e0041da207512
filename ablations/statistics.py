"""Claims -> verdicts with effect, interval and adjusted p. Pure functions of the table of runs.

Every claim asks for a contrast, a weighted sum of arms' means: two arms, two groups of arms, a straight line over the
levels of a factor, a difference of differences. Welch's standard error and Satterthwaite's degrees of freedom serve
all of them, at any number of seeds: tests/benchmarks/coverage.py shows why neither moderated variances nor the bootstrap,
permutations or pairs of seeds take their place.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import special, stats

from ablations.config import Claim, Levels, Scalar, label, listed, listing, named, words
from ablations.errors import UserError
from ablations.plan import Plan, PlannedStudy

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 1000  # an arm, beyond which no number is told

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
    the first to the last level; of a crossover, the difference of the differences `effect_first` and `effect_second`.
    `p_for` and `p_against` are two-sided, of the tests that would support and refute the claim; `p` is the one of
    them that decided, of an inconclusive claim the one that its effect points to, `against` the hypothesis that it
    is against, `method` its test, and `p_adjusted` the same adjusted over the claims of the suite. `verdict` is
    supported, refuted, inconclusive, or not tested for the `reason` given. `n_arm` and `n_than` are the runs of its two
    sides, of a crossover at the level that has fewer. Of all its arms, `runs` of the `planned` runs are there;
    `diverged` of them diverged, `partly_diverged` in arms of which other runs did not. `correlation` is that of the
    two arms over their seeds. Of an inconclusive claim, `detectable` is the distance of a true effect from the bound
    of its test, 0 or the margin, that is found with probability 0.8 at the strictest level, 0.05 over the number of
    claims adjusted for, and `seeds_needed` the seeds an arm that would settle the claim with that probability if the
    effect is as large as seen; NaN where that takes more than 1,000. A claim on numbers that seeds do not change is
    settled by comparing them: its `method` is exact, its interval the effect, p 0 and in no adjustment."""

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
    effect_first: float = math.nan
    effect_second: float = math.nan
    p_for: float = math.nan
    p_against: float = math.nan
    p: float = math.nan
    against: str = ""
    p_adjusted: float = math.nan
    correlation: float = math.nan
    detectable: float = math.nan
    seeds_needed: float = math.nan


# ------------------------------------------------------------------------------------------ contrasts


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
        half = stats.t.ppf(1 - ALPHA / 2, self.freedom) * self.error
        return self.effect - half, self.effect + half

    def p_above(self, bound: float) -> np.ndarray | float:
        """p, two-sided, against the hypothesis that the true effect is `bound` or less."""
        return np.minimum(1.0, 2 * stats.t.sf((self.effect - bound) / self.error, self.freedom))

    def p_below(self, bound: float) -> np.ndarray | float:
        """p, two-sided, against the hypothesis that the true effect is `bound` or more."""
        return np.minimum(1.0, 2 * stats.t.cdf((self.effect - bound) / self.error, self.freedom))


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
    half = stats.t.ppf(1 - ALPHA / 2, len(values) - 1) * error
    return mean, mean - half, mean + half


def binomial_interval(error: float, images: int) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of an error measured on so many images, all in percent: how it could have come
    out on others drawn alike."""
    interval = stats.binomtest(round(error / 100 * images), images).proportion_ci(1 - ALPHA, method="wilson")
    return 100 * interval.low, 100 * interval.high


def linear_weights(levels: int) -> np.ndarray:
    """Weights of arms in the change along the least-squares line over their ranks, from the first to the last."""
    ranks = np.arange(levels) - (levels - 1) / 2
    return (levels - 1) * ranks / (ranks**2).sum()


# ------------------------------------------------------------------------------------------ what could be found


def detectable(c: Contrast, level: float) -> float:
    """The smallest true effect told apart from 0 with probability 0.8 by a two-sided test at `level`, at the spread
    seen: the noncentrality of t that gives this power (Johnson and Welch 1940), in standard errors."""
    limit = stats.t.isf(level / 2, c.freedom)
    return float(special.nctdtrinc(c.freedom, 1 - POWER, limit) * c.error)


def seeds_needed(c: Contrast, distance: float, level: float) -> float:
    """Seeds an arm with which a true effect at this distance from the bound of its test is found with probability
    0.8 at `level`, at the spread seen; NaN where 1,000 do not do."""
    seeds = np.arange(2, MOST_SEEDS + 1)
    planned = replace(c, seeds=seeds[:, None])
    power = stats.nct.sf(stats.t.isf(level / 2, planned.freedom), planned.freedom, distance / planned.error)
    enough = seeds[power >= POWER]
    return float(enough[0]) if len(enough) else math.nan


# ------------------------------------------------------------------------------------------ claims


@dataclass(frozen=True)
class Comparison:
    """What the runs say on a claim, before p values are adjusted over the report. `aligned` are its contrasts, one
    or, of a crossover, two, turned so that the direction that the claim is about is up; none where it is not
    tested."""

    claim: Claim
    verdict: Verdict
    aligned: tuple[Contrast, ...] = ()

    @property
    def in_family(self) -> bool:
        """Whether the claim is tested, so that its p values are adjusted with those of the others."""
        return bool(self.aligned) and self.claim.metric not in COUNTED

    @property
    def matters(self) -> bool:
        """Whether the effect seen reaches the margin; of a crossover, both differences."""
        return all(c.effect >= self.claim.margin for c in self.aligned)

    @property
    def unsettled(self) -> tuple[Contrast, float]:
        """The contrast that a clear verdict waits for, and its distance from the bound that its test is to reject: 0
        for an effect that matters, else the margin; of a claim of absence always the margin."""
        if self.claim.of_absence:
            (only,) = self.aligned
            return only, abs(float(only.effect) - self.claim.margin)
        if self.matters:
            weakest = max(self.aligned, key=lambda c: c.p_above(0))
            return weakest, float(weakest.effect)
        smallest = min(self.aligned, key=lambda c: c.p_below(self.claim.margin))
        return smallest, self.claim.margin - float(smallest.effect)


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
    tested = [(c.verdict.p_for, c.verdict.p_against) for c in compared if c.in_family]
    adjusted = iter(adjust(tested + [(1.0, 1.0)] * (family - len(tested))))
    level = ALPHA / max(1, family)
    verdicts = []
    for c in compared:
        pair = next(adjusted) if c.in_family else (c.verdict.p_for, c.verdict.p_against)
        verdicts.append(decide(c, *pair, level) if c.aligned else c.verdict)
    return verdicts


def compare(planned: PlannedStudy, name: str, claim: Claim, runs: pd.DataFrame) -> Comparison:
    """The comparison that a claim asks for, not yet judged."""
    try:
        differences = weighted_arms(planned, claim)
        weights = sum_of_weights(differences)
        arms = comparable_arms(planned, runs, claim, weights)
    except UserError as error:
        return Comparison(claim, Verdict(planned.name, name, "not tested", str(error)))
    samples = {key: arm[claim.metric] for key, arm in arms.items()}
    floor = resolution(runs, claim.metric)
    contrasts = [weighted_mean(claim, samples, weighted, floor) for weighted in differences]
    shown, turned = weighted_mean(claim, samples, weights, floor), aligned(claim, contrasts)
    first, second = (float(c.effect) for c in contrasts) if len(contrasts) == 2 else (math.nan, math.nan)
    exact = claim.metric in COUNTED
    low, high = map(float, (shown.effect, shown.effect) if exact else shown.interval)
    p_for, p_against = map(float, p_values(claim, turned))
    verdict = Verdict(
        study=planned.name,
        claim=name,
        verdict="",
        method="exact" if exact else "",
        **sides(claim, differences, samples),
        **counts(planned, arms),
        effect=float(shown.effect),
        low=low,
        high=high,
        effect_first=first,
        effect_second=second,
        p_for=p_for,
        p_against=p_against,
    )
    return Comparison(claim, verdict, turned)


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
        "partly_diverged": sum(count for key, count in diverged.items() if count < len(arms[key])),
    }


def weighted_mean(
    claim: Claim, samples: Mapping[Key, pd.Series], weights: Mapping[Key, float], resolution: float
) -> Contrast:
    """The contrast of arms with these weights; of `fails`, above the threshold."""
    arms = contrast([samples[key].to_numpy(float) for key in weights], [*weights.values()], resolution)
    return replace(arms, effect=arms.effect - (claim.threshold or 0.0))


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
    """The contrasts with the direction that the claim is about upwards: for `equivalent` the one that was seen,
    which makes of its two one-sided tests (Schuirmann 1987) the one that decides."""
    downwards = claim.kind == "less" or claim.direction == "falls"
    signs = [-1 if downwards else 1]
    if claim.kind == "equivalent":
        signs = [np.where(contrasts[0].effect < 0, -1, 1)]
    elif claim.kind == "crossover":
        signs = [1, -1]
    return tuple(replace(c, effect=sign * c.effect) for c, sign in zip(contrasts, signs, strict=True))


def p_values(claim: Claim, turned: Sequence[Contrast]) -> tuple[np.ndarray | float, np.ndarray | float]:
    """p of the tests that support and refute a claim. That there is an effect is supported against 0 or less, and
    refuted against the margin or more; that there is none that matters is supported against the margin or more, and
    refuted against less than the margin. A crossover needs both of its differences, each at the full level
    (intersection-union test, Berger 1982), and lacks one where either is excluded (Bonferroni). Numbers that seeds do
    not change are compared: p is 0 or 1."""
    if claim.metric in COUNTED:
        effect = min(float(c.effect) for c in turned)
        matters = effect > 0 and effect >= claim.margin
        return float(matters == claim.of_absence), float(matters != claim.of_absence)
    not_there = np.minimum(1.0, len(turned) * np.min([c.p_below(claim.margin) for c in turned], axis=0))
    there = np.max([c.p_above(claim.margin if claim.of_absence else 0) for c in turned], axis=0)
    return (not_there, there) if claim.of_absence else (there, not_there)


def sides(
    claim: Claim, differences: Sequence[Mapping[Key, float]], samples: Mapping[Key, pd.Series]
) -> dict[str, float]:
    """Runs and mean of the two sides of a claim, and their correlation over seeds where each is one arm. Of a trend
    they are its last and its first level, of `fails` the second is the threshold, of a crossover there are no means."""
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
    if claim.kind == "crossover":
        return told
    ((arm, than),) = groups
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


def adjust(pairs: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Holm's step-down method (1979) over both tests of every claim, with Shaffer's multipliers (1986): of a
    claim's two hypotheses, no effect (of absence: less than the margin) and the margin or more, at most one is true, so
    that of 2 m hypotheses m can be. Where they meet, p values being two-sided leaves half of the level to each."""
    flat = [p for pair in pairs for p in pair]
    adjusted, highest = [0.0] * len(flat), 0.0
    for rank, i in enumerate(sorted(range(len(flat)), key=flat.__getitem__)):
        highest = max(highest, min(1.0, min(len(pairs), len(flat) - rank) * flat[i]))
        adjusted[i] = highest
    return list(zip(adjusted[::2], adjusted[1::2], strict=True))


def decide(c: Comparison, p_for: float, p_against: float, level: float) -> Verdict:
    """A verdict from adjusted p values, with the test that it comes from. `level` is the strictest of the report."""
    absence = c.claim.of_absence
    verdict = settled(c, p_for, p_against)
    points_for = verdict == "supported" or (verdict == "inconclusive" and c.matters != absence)
    decided = replace(
        c.verdict,
        verdict=verdict,
        p=c.verdict.p_for if points_for else c.verdict.p_against,
        p_adjusted=p_for if points_for else p_against,
    )
    if c.in_family:
        method, refuting = METHODS[c.claim.kind]
        against = (MATTERS if points_for else SMALL) if absence else (NONE if points_for else MATTERS)
        decided = replace(decided, method=method if points_for else refuting, against=against)
    if verdict != "inconclusive":
        return decided
    unsettled, distance = c.unsettled
    return replace(
        decided,
        detectable=detectable(unsettled, level),
        seeds_needed=seeds_needed(unsettled, distance, level),
    )


def settled(c: Comparison, p_for: float, p_against: float) -> str:
    """What adjusted p values say of a claim. To support that there is an effect, the one seen must also matter."""
    if p_for < ALPHA and (c.matters or c.claim.of_absence):
        return "supported"
    return "refuted" if p_against < ALPHA else "inconclusive"


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
