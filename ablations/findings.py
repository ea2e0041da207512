"""Verdicts in words, with their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pandas as pd
from scipy import special

from ablations.config import Claim, Levels, listed, listing, named, with_minus, words
from ablations.contrasts import ALPHA, MOST_SEEDS
from ablations.plan import Plan, PlannedStudy
from ablations.statistics import MATTERS, NONE, SMALL, family, listed_arms, missing

PAIRED = 0.5  # the correlation over seeds from which pairing would narrow intervals, at the level of a report


def sentence(planned: PlannedStudy, claim: Claim, row: Mapping[str, Any]) -> str:
    """A verdict in words, with its numbers."""
    if row["verdict"] == "not tested":
        return f"Not tested: {row['reason']}."
    name, _ = named(claim.metric)
    return (
        f"{row['verdict'].capitalize()}.{undecided(claim, row)} {name.capitalize()}: "
        f"{compared(planned, claim, row)}{tested(claim, row)}; {what_matters(claim)}).{divergence(claim, row)} "
        f"Published: {claim.in_print} [@{claim.source}]."
    )


def compared(planned: PlannedStudy, claim: Claim, row: Mapping[str, Any]) -> str:
    """The numbers that a claim compares, with its effect, up to where its test follows."""
    if claim.kind == "crossover":
        first, second = (
            f"{one_effect(claim, row, place)} at {in_words(planned, {claim.factor: level})}"
            for place, level in zip(("_first", "_second"), claim.at, strict=True)
        )
        arm, than = told_apart(planned, claim)
        return f"{arm} minus {than} is {first} and {second} ("
    effect = effect_with_interval(claim, row)
    arm, than = (value(claim.metric, row[side]) for side in ("mean_arm", "mean_than"))
    if claim.kind == "trend":
        levels = [planned.levels(key)[claim.factor] for key in planned.select(claim.arm)]
        first, last = (in_words(planned, {claim.factor: level}) for level in (levels[0], levels[-1]))
        shape = not_monotone(claim, row["means"])
        return f"{than} at {first} and {arm} at {last}{shape} (change along the straight line over the levels {effect}, "
    of_arm, of_than = (f" ({side})" if side else "" for side in told_apart(planned, claim))
    threshold = "a threshold of " if claim.kind == "fails" else ""
    return f"{arm}{of_arm} against {threshold}{than}{of_than} (difference {effect}, "


def not_monotone(claim: Claim, means: str) -> str:
    """That the means of a trend's levels do not all go its way, where so: the line over them may, and is tested."""
    numbers = [float(mean) for mean in means.split()]
    steps = [after - before for before, after in pairwise(numbers)]
    if all(step < 0 if claim.direction == "falls" else step > 0 for step in steps):
        return ""
    told = listing([numeral(claim.metric, mean) for mean in numbers])
    verb = claim.direction.removesuffix("s")
    return f"; the means do not {verb} throughout: {told} {named(claim.metric)[1]}".rstrip()


def told_apart(planned: PlannedStudy, claim: Claim) -> list[str]:
    """The two sides of a claim in words: the factors in which they differ, and those whose level is the suite's first
    or last."""
    pair = [claim.arm, claim.than or {}]
    told = [
        factor
        for factor in planned.factors
        if not alike(planned, factor, *pair) or any(of_the_suite(side.get(factor, [])) for side in pair)
    ]
    return [in_words(planned, {factor: side[factor] for factor in told if factor in side}) for side in pair]


def alike(planned: PlannedStudy, factor: str, arm: Mapping[str, Levels], than: Mapping[str, Levels]) -> bool:
    """Whether both sides have the same levels of a factor, or leave it open."""
    levels = [
        planned.known_levels(factor, listed(side[factor])) if factor in side else None for side in (arm, than)
    ]
    return levels[0] == levels[1]


def of_the_suite(levels: Levels) -> bool:
    """Whether a suite says what these levels are."""
    return not {"first", "last"}.isdisjoint(map(str, listed(levels)))


def in_words(planned: PlannedStudy, levels: Mapping[str, Levels]) -> str:
    """Levels by the names that they have in the suite: `shortcut none, depth 20 and 56`."""
    told = []
    for factor, values in levels.items():
        known = planned.known_levels(factor, listed(values))
        names = [level.label for level in planned.factors[factor].levels if level.label in known]
        told.append(f"{words(factor)} {listing(names)}")
    return ", ".join(told)


def tested(claim: Claim, row: Mapping[str, Any]) -> str:
    """How a claim was tested, with what came out."""
    if row["method"] == "exact":
        return "the same for every seed"
    return (
        f"{row['method']}: p {p_in_words(row['p'])} against {hypothesis(claim, row['against'])}, adjusted p "
        f"{p_in_words(row['p_adjusted'])}{resampled(claim, row)}, n = {numbers_of_runs(row, ' and ')}{together(row)}"
    )


def resampled(claim: Claim, row: Mapping[str, Any]) -> str:
    """What the permutation test and the bootstrap say, where there are seeds enough; of a crossover the first only."""
    if math.isnan(row["p_permuted"]):
        return ""
    told = f", permutation test p {p_in_words(row['p_permuted'])}"
    if claim.kind == "crossover" or math.isnan(row["bca_low"]):
        return told
    return f"{told}, BCa interval {limits(claim, row['bca_low'], row['bca_high'])}"


def together(row: Mapping[str, Any]) -> str:
    """The correlation of a claim's two arms over seeds; where clearly negative, with what that does."""
    r, seeds = row["correlation"], min(row["n_arm"], row["n_than"])
    if math.isnan(r):
        return ""
    told = f", correlation over seeds {with_minus(f'{r:.2f}')}"
    clear = special.stdtr(seeds - 2, r * math.sqrt((seeds - 2) / max(1 - r**2, 1e-12))) < ALPHA
    return f"{told}, clearly negative: the interval is too narrow" if clear else told


def correlations(verdicts: pd.DataFrame) -> str:
    """How the arms of a report's claims correlate over seeds, counted, in a sentence."""
    found = verdicts["correlation"].dropna()
    if found.empty:
        return "None of the claims here compares two arms over three seeds or more."
    claims = "claim here that compares" if len(found) == 1 else "claims here that compare"
    return (
        f"Of the {len(found)} {claims} two arms it is above {PAIRED:g} for {(found > PAIRED).sum()} and negative for "
        f"{(found < 0).sum()}, from {with_minus(f'{found.min():.2f}')} to {with_minus(f'{found.max():.2f}')}."
    )


def hypothesis(claim: Claim, against: str) -> str:
    """What a p value is against, with the margin in it."""
    crossover = claim.kind == "crossover"
    if against == NONE or (against == SMALL and not claim.margin):
        return f"no effect{' at one of the levels' if crossover else ''}"
    if against == SMALL:
        return f"an effect of less than {smallest(claim)}"
    told = (
        f"{'effects' if crossover else 'an effect'} of {smallest(claim)} or more"
        if claim.margin
        else "any effect"
    )
    return f"{told}{' at both levels' if crossover else ''}"


def what_matters(claim: Claim) -> str:
    """The smallest difference that matters to a claim, in words."""
    if not claim.margin:
        return "any difference matters"
    return f"the smallest difference that matters was set to {smallest(claim)}"


def adjusted_over(plan: Plan, name: str) -> str:
    """The claims that the p values of a report are adjusted over, in words."""
    count, whole = family(plan, name), plan.family(name) == plan.family("report")
    return f"the {count} claims {'that the suite' if whole else 'that this study'} tests"


def undecided(claim: Claim, row: Mapping[str, Any]) -> str:
    """What could have been found, and how many seeds would settle an inconclusive claim, and where diverged runs make it
    so, that; empty for others."""
    if row["verdict"] != "inconclusive":
        return ""
    reason = row["reason"] if isinstance(row["reason"], str) else ""
    told = f" {reason.capitalize()}: a verdict has to hold either way." if reason else ""
    if math.isnan(row["detectable"]):
        return told
    enough = f"more than {MOST_SEEDS:,}" if math.isnan(row["seeds_needed"]) else f"{row['seeds_needed']:.0f}"
    settle = f"{enough} seeds an arm would settle it if it is as large as seen."
    least = change(claim.metric, row["detectable"], sign="")
    start = "Read the less clear way," if reason else "At the level of this report"
    subject = "the less clear of the two differences" if claim.kind == "crossover" else "the difference"
    if claim.of_absence or row["against"] == MATTERS:
        ways = "more or less" if claim.of_absence else "less"
        return (
            f"{told} {start} {subject} cannot be told from the smallest that matters: one of {least} {ways} "
            f"than that would have been, with probability 80 %, and {settle}"
        )
    return (
        f"{told} {start} {subject} does not stand out from the spread between seeds: one of {least} would have been "
        f"found with probability 80 %, and {settle}"
    )


def divergence(claim: Claim, row: Mapping[str, Any]) -> str:
    """How many runs of a claim diverged and what they count as; where others of their arm trained, with the effect
    without them. Empty where none did."""
    count, apart = row["diverged"], row["partly_diverged"]
    if not count or row["method"] == "exact":
        return ""
    guessing = claim.metric.endswith(("_error", "_loss"))
    how = "as guessing" if guessing else "with what was measured of them"
    told = f" {count} of the {row['runs']} runs diverged and count{'s' if count == 1 else ''} {how}"
    if not apart:
        return f"{told}."
    them = (
        "it" if count == 1 else "them" if count == apart else f"the {apart} in arms of which others trained"
    )
    if math.isnan(row["effect_trained"]):
        return f"{told}; without {them}, an arm has fewer than 2 runs, too few for a verdict."
    if claim.kind == "crossover":
        return f"{told}; the verdict has to hold without {them} as well."
    return f"{told}; without {them} the difference is {one_effect(claim, row, '_trained')}, and the verdict has to hold either way."


def numbers_of_runs(row: Mapping[str, Any], between: str) -> str:
    """The runs of the two sides of a claim, or of its only one; where some of its arms' runs are missing, with all
    that are there and were planned."""
    told = between.join(str(row[side]) for side in ("n_arm", "n_than") if row[side])
    return f"{told} ({row['runs']} of {row['planned']} planned)" if row["runs"] < row["planned"] else told


def mark(row: Mapping[str, Any]) -> str:
    """What stands behind a number of runs of which some diverged."""
    return f" †{row['diverged']}" if row["diverged"] else ""


def missing_runs(plan: Plan, planned: PlannedStudy, runs: pd.DataFrame) -> str:
    """Which runs of a study are not there and what trains them, in Markdown; empty where none is missing."""
    lacking = missing(planned, runs)
    if not lacking:
        return ""
    count = sum(len(seeds) for _, seeds in lacking)
    extra = f" extra={plan.library.extra}" if plan.library.extra else ""
    return (
        f"{count} of the {len(planned.arms) * len(planned.seeds)} runs of {planned.name} {'is' if count == 1 else 'are'} "
        f"missing: {listed_arms(lacking)}. `snakemake {planned.name} --cores all --config suite={plan.suite_name}{extra}` "
        f"trains {'it' if count == 1 else 'them'}."
    )


# ------------------------------------------------------------------------------------------ numbers


def effect_with_interval(claim: Claim, row: Mapping[str, Any]) -> str:
    """The effect with its 95 % interval, of a crossover both differences; a dash where the claim was not tested."""
    if row["verdict"] == "not tested":
        return "–"
    if claim.kind == "crossover":
        return " and ".join(one_effect(claim, row, place) for place in ("_first", "_second"))
    return one_effect(claim, row)


def one_effect(claim: Claim, row: Mapping[str, Any], place: str = "") -> str:
    """One of a verdict's effects with its 95 % interval; numbers that seeds do not change have none."""
    effect = change(claim.metric, row[f"effect{place}"])
    exact = row["method"] == "exact"
    return effect if exact else f"{effect} {limits(claim, row[f'low{place}'], row[f'high{place}'])}"


def limits(claim: Claim, low: float, high: float) -> str:
    """An interval as printed."""
    return f"[{numeral(claim.metric, low, '+')}, {numeral(claim.metric, high, '+')}]"


def smallest(claim: Claim) -> str:
    """The smallest difference that matters to a claim; `any` of a margin of 0."""
    return f"{claim.margin:g} {unit_of_change(claim.metric)}".rstrip() if claim.margin else "any"


def value(metric: str, number: float) -> str:
    """A value of a metric with its unit."""
    return f"{numeral(metric, number)} {named(metric)[1]}".rstrip()


def change(metric: str, number: float, sign: str = "+") -> str:
    """A difference of two values of a metric with its unit."""
    return f"{numeral(metric, number, sign)} {unit_of_change(metric)}".rstrip()


def unit_of_change(metric: str) -> str:
    """The unit of differences: of percentages, percentage points."""
    return "pp" if in_percent(metric) else named(metric)[1]


def numeral(metric: str, number: float, sign: str = "") -> str:
    """A number as printed: percentages with two decimals, others with three digits, or all before the point."""
    if in_percent(metric):
        return with_minus(f"{number:{sign}.2f}")
    return with_minus(f"{number:{sign},.0f}" if abs(number) >= 100 else f"{number:{sign}.3g}")


def in_percent(metric: str) -> bool:
    """Whether differences of a metric are percentage points."""
    return named(metric)[1] in ("%", "pp")


def p_value(p: float) -> str:
    """A p value as printed."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_in_words(p: float) -> str:
    """A p value as printed behind its letter."""
    return p_value(p) if p < 0.001 else f"= {p_value(p)}"
