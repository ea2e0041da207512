"""Verdicts in words, with their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ablations.config import Claim, Levels, listed, listing, named, words
from ablations.plan import Plan, PlannedStudy
from ablations.statistics import MOST_SEEDS, NONE, SMALL, family, listed_arms, missing


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
            f"{change(claim.metric, row[column])} at {in_words(planned, {claim.factor: level})}"
            for column, level in zip(("effect_first", "effect_second"), claim.at, strict=True)
        )
        arm, than = told_apart(planned, claim)
        return f"{arm} minus {than} is {first} and {second} ("
    effect = effect_with_interval(claim, row)
    arm, than = (value(claim.metric, row[side]) for side in ("mean_arm", "mean_than"))
    if claim.kind == "trend":
        levels = [planned.levels(key)[claim.factor] for key in planned.select(claim.arm)]
        first, last = (in_words(planned, {claim.factor: level}) for level in (levels[0], levels[-1]))
        return f"{than} at {first} and {arm} at {last} (change along the straight line over the levels {effect}, "
    of_arm, of_than = (f" ({side})" if side else "" for side in told_apart(planned, claim))
    threshold = "a threshold of " if claim.kind == "fails" else ""
    return f"{arm}{of_arm} against {threshold}{than}{of_than} (difference {effect}, "


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
    together = row["correlation"]
    return (
        f"{row['method']}: p {p_in_words(row['p'])} against {hypothesis(claim, row['against'])}, adjusted p "
        f"{p_in_words(row['p_adjusted'])}, n = {numbers_of_runs(row, ' and ')}"
        + ("" if math.isnan(together) else f", correlation over seeds {with_minus(f'{together:.2f}')}")
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
    """What could have been found, and how many seeds would settle an inconclusive claim; empty for others."""
    if row["verdict"] != "inconclusive":
        return ""
    enough = f"more than {MOST_SEEDS:,}" if math.isnan(row["seeds_needed"]) else f"{row['seeds_needed']:.0f}"
    settle = f"{enough} seeds an arm would settle it if it is as large as seen."
    if claim.of_absence:
        return (
            f" At the level of this report the difference cannot be told from the smallest that matters: one of "
            f"{change(claim.metric, row['detectable'], sign='')} more or less than that would have been, with "
            f"probability 80 %, and {settle}"
        )
    subject = "the less clear of the two differences" if claim.kind == "crossover" else "the difference"
    return (
        f" At the level of this report {subject} does not stand out from the spread between seeds: one of "
        f"{change(claim.metric, row['detectable'], sign='')} would have been found with probability 80 %, and {settle}"
    )


def divergence(claim: Claim, row: Mapping[str, Any]) -> str:
    """How many runs of a claim diverged, what they count as, and whether that makes its test less sure: in the
    simulations of tests/benchmarks/coverage.py it does where a run diverges now and then. Empty where none did."""
    count = row["diverged"]
    if not count or row["method"] == "exact":
        return ""
    guessing = claim.metric.endswith(("_error", "_loss"))
    how = "as guessing" if guessing else "with what was measured of them"
    told = f" {count} of the {row['runs']} runs diverged and count{'s' if count == 1 else ''} {how}"
    if row["partly_diverged"]:
        told += "; since others of the same arm did not, interval and verdict are less sure than p tells"
    return f"{told}."


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
        return " and ".join(change(claim.metric, row[column]) for column in ("effect_first", "effect_second"))
    effect = change(claim.metric, row["effect"])
    if row["method"] == "exact":
        return effect
    low, high = (numeral(claim.metric, row[bound], "+") for bound in ("low", "high"))
    return f"{effect} [{low}, {high}]"


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


def with_minus(number: str) -> str:
    """A number with a minus for the hyphen before it."""
    return f"−{number[1:]}" if number.startswith("-") else number


def in_percent(metric: str) -> bool:
    """Whether differences of a metric are percentage points."""
    return named(metric)[1] in ("%", "pp")


def p_value(p: float) -> str:
    """A p value as printed."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_in_words(p: float) -> str:
    """A p value as printed behind its letter."""
    return p_value(p) if p < 0.001 else f"= {p_value(p)}"
