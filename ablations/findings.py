"""Verdicts in words, with their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ablations.config import Claim, Scalar, label, named, words
from ablations.plan import Plan, PlannedStudy
from ablations.statistics import MOST_SEEDS, listed_arms, missing


def sentence(claim: Claim, row: Mapping[str, Any], effect: str) -> str:
    """A verdict in words, with its numbers."""
    if row["verdict"] == "not tested":
        return f"Not tested: {row['reason']}."
    name, _ = named(claim.metric)
    return (
        f"{row['verdict'].capitalize()}.{undecided(claim, row)} {name.capitalize()}: "
        f"{compared(claim, row, effect)}, {tested(row)}; the smallest difference that matters was set to "
        f"{smallest(claim)}).{divergence(claim, row)} Published: {claim.in_print} [@{claim.source}]."
    )


def compared(claim: Claim, row: Mapping[str, Any], effect: str) -> str:
    """The numbers that a claim compares, with its effect, up to where p follows."""
    if claim.kind == "crossover":
        first, second = (
            f"{change(claim.metric, row[column])} at {level_in_words(claim.factor, level)}"
            for column, level in zip(("effect_first", "effect_second"), claim.at, strict=True)
        )
        return f"difference {first} and {second} (the one minus the other {effect}"
    arm, than = (value(claim.metric, row[side]) for side in ("mean_arm", "mean_than"))
    if claim.kind == "fails":
        return f"{arm} against a threshold of {than} (difference {effect}"
    if claim.kind == "trend":
        return f"{than} at the first and {arm} at the last level (change along the straight line over the levels {effect}"
    return f"{arm} against {than} (difference {effect}"


def level_in_words(factor: str, level: Scalar) -> str:
    """A level of a factor, or where in the suite's order it stands."""
    place = label(level)
    return f"the {place} {words(factor)}" if place in ("first", "last") else f"{words(factor)} {place}"


def tested(row: Mapping[str, Any]) -> str:
    """How a claim was tested, with what came out."""
    if row["method"] == "exact":
        return "the same for every seed"
    together = row["correlation"]
    return (
        f"{row['method']}: p {p_in_words(row['p'])}, adjusted p {p_in_words(row['p_adjusted'])}, "
        f"n = {numbers_of_runs(row, ' and ')}"
        + ("" if math.isnan(together) else f", correlation over seeds {together:.2f}")
    )


def undecided(claim: Claim, row: Mapping[str, Any]) -> str:
    """What could have been found, and how many seeds would settle an inconclusive claim; empty for others."""
    if row["verdict"] != "inconclusive":
        return ""
    enough = f"more than {MOST_SEEDS:,}" if math.isnan(row["seeds_needed"]) else f"{row['seeds_needed']:.0f}"
    subject = "the less clear of the two differences" if claim.kind == "crossover" else "the difference"
    return (
        f" At the level of this report {subject} does not stand out from the spread between seeds: one of "
        f"{change(claim.metric, row['detectable'], sign='')} would have been found with probability 80 %, and {enough} "
        "seeds an arm would settle it if it is as large as seen."
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
    """The effect with its 95 % interval; a dash where the claim was not tested."""
    if row["verdict"] == "not tested":
        return "–"
    effect = change(claim.metric, row["effect"])
    if row["method"] == "exact":
        return effect
    low, high = (numeral(claim.metric, row[bound], "+") for bound in ("low", "high"))
    return f"{effect} [{low}, {high}]"


def smallest(claim: Claim) -> str:
    """The smallest difference that matters to a claim."""
    return f"{claim.margin:g} {unit_of_change(claim.metric)}".rstrip()


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
        return f"{number:{sign}.2f}"
    return f"{number:{sign},.0f}" if abs(number) >= 100 else f"{number:{sign}.3g}"


def in_percent(metric: str) -> bool:
    """Whether differences of a metric are percentage points."""
    return named(metric)[1] in ("%", "pp")


def p_value(p: float) -> str:
    """A p value as printed."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_in_words(p: float) -> str:
    """A p value as printed behind its letter."""
    return p_value(p) if p < 0.001 else f"= {p_value(p)}"
