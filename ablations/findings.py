"""Verdicts in words, with their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ablations.config import METRICS, Claim, words
from ablations.statistics import MOST_SEEDS


def sentence(claim: Claim, row: dict[str, Any], effect: str) -> str:
    """A verdict in words, with its numbers."""
    if row["verdict"] == "not tested":
        return f"Not tested: {row['reason']}."
    metric = METRICS[claim.metric].removesuffix(" (%)").capitalize()
    together = (
        f", correlation over seeds {row['correlation']:.2f}"
        if row["correlation"] == row["correlation"]
        else ""
    )
    return (
        f"{row['verdict'].capitalize()}.{undecided(claim, row)} {metric}: {compared(claim, row, effect)}, "
        f"p = {p_value(row['p_adjusted'])}, n = {numbers_of_runs(row, ' and ')}{together}; the smallest "
        f"difference that matters was set to {claim.margin:g}). Published: {claim.in_print} [@{claim.source}]."
    ).replace("p = <", "p <")


def compared(claim: Claim, row: Mapping[str, Any], effect: str) -> str:
    """The numbers that a claim compares, with its effect, up to where p follows."""
    unit = " pp" if in_percent(claim.metric) else ""
    arm, than = (f"{row[side]:.2f}{' %' if unit else ''}" for side in ("mean_arm", "mean_than"))
    if claim.kind == "crossover":
        first, second = (
            f"{row[column]:+.2f}{unit} at {words(claim.factor)} {level}"
            for column, level in zip(("effect_first", "effect_second"), claim.at, strict=True)
        )
        return f"difference {first} and {second} (the one minus the other {effect}"
    if claim.kind == "fails":
        return f"{arm} against a threshold of {than} (difference {effect}"
    if claim.kind == "trend":
        return f"{than} at the first and {arm} at the last level (change along the straight line over the levels {effect}"
    return f"{arm} against {than} (difference {effect}"


def undecided(claim: Claim, row: Mapping[str, Any]) -> str:
    """What could have been found, and how many seeds would settle an inconclusive claim; empty for others."""
    if row["verdict"] != "inconclusive":
        return ""
    unit = " pp" if in_percent(claim.metric) else ""
    enough = f"more than {MOST_SEEDS:,}" if math.isnan(row["seeds_needed"]) else f"{row['seeds_needed']:.0f}"
    return (
        " At the level of this report the difference does not stand out from the spread between seeds: one of "
        f"{row['detectable']:.2f}{unit} would have been found with probability 80 %, and {enough} seeds an arm would settle it if it is as large as seen."
    )


def numbers_of_runs(row: Mapping[str, Any], between: str) -> str:
    """The runs of the two sides of a claim, or of its only one."""
    return between.join(str(row[side]) for side in ("n_arm", "n_than") if row[side])


def in_percent(metric: str) -> bool:
    """Whether a metric is in percent, and its differences in percentage points."""
    return METRICS[metric].endswith("(%)")


def p_value(p: float) -> str:
    """A p value as printed."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
