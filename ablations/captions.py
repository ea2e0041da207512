"""What the captions of the figures say: a title, what the runs show, in numbers, then n and what is drawn. Whether a
difference is more than chance is told by the verdicts alone."""

from __future__ import annotations

import pandas as pd

from ablations.config import Figure, listing, named, words
from ablations.figure_data import (
    after_training,
    costs,
    curves,
    factors_of,
    is_listed,
    labels,
    means,
)
from ablations.findings import in_percent, value
from ablations.plan import Plan, PlannedStudy

MOST_ARMS = 3  # of a front, that are named one by one
MOST_LINES = 2  # levels of the colour, within which the others are compared one by one


def caption(figure: Figure, planned: PlannedStudy, runs: pd.DataFrame, history: pd.DataFrame) -> str:
    """What a figure shows, what is found there, how many seeds, and what its marks are, in Markdown."""
    marks = marks_of(figure, planned, runs)
    others = [words(name) for name in planned.factors if name not in factors_of(planned, figure)]
    pooled = f"; the arms of every {' and '.join(others)} together" if others else ""
    shown = f"n = {seeds(planned, runs)} an arm; {marks}{pooled}."
    told = [f"**{figure.title}.**", finding(figure, planned, runs, history), shown, divergence(runs)]
    return " ".join(filter(None, told))


# ------------------------------------------------------------------------------------------ findings


def finding(figure: Figure, planned: PlannedStudy, runs: pd.DataFrame, history: pd.DataFrame) -> str:
    """What the runs show, in a sentence a metric."""
    factors = factors_of(planned, figure)
    if figure.kind == "cost":
        told = [front(figure, planned, runs)]
    elif figure.kind == "curves":
        (metric,) = figure.y
        last = after_training(curves(planned, figure, runs, history), metric)
        told = [f"after the last epoch, {extremes(means(last, factors, metric), metric)}"]
    else:
        several = figure.x[0] != figure.colour and len(labels(planned, figure.colour)) <= MOST_LINES
        tell = within_colours if several else extremes
        told = [tell(means(runs, factors, metric), metric, figure.colour) for metric in figure.y]
    return " ".join(f"{each[0].upper()}{each[1:]}." for each in told)


def extremes(table: pd.DataFrame, metric: str, colour: str = "") -> str:
    """Where the mean of a metric is lowest and highest."""
    name = named(metric)[0]
    return f"no run has a {name}" if table.empty else f"{name} is {ends(table, metric)}"


def within_colours(table: pd.DataFrame, metric: str, colour: str) -> str:
    """The same within each level of the colour; not where only one has a mean, or all arms have the same."""
    told = [
        (level, ends(of_level.drop(columns=colour), metric))
        for level, of_level in table.groupby(colour, observed=True)
    ]
    if len(told) < 2 or table[metric].map(lambda mean: value(metric, mean)).nunique() == 1:
        return extremes(table, metric)
    (level, there), *others = told
    start = f"with {words(colour)} *{level}*, {named(metric)[0]} is {there}"
    return "; ".join([start, *(f"with *{level}* it is {there}" for level, there in others)])


def ends(table: pd.DataFrame, metric: str) -> str:
    """Where a mean is lowest and highest, by the levels in the table; ties as printed are counted."""
    factors = [column for column in table if column != metric]
    printed = table[metric].map(lambda mean: value(metric, mean))
    if printed.nunique() == 1:
        return f"{printed.iloc[0]} " + (
            f"at {arm(table.iloc[0][factors])}" if len(table) == 1 else "in every arm"
        )
    found = []
    for number in (printed[table[metric].idxmin()], printed[table[metric].idxmax()]):
        there = table[printed == number]
        if len(there) > 1:
            which = f"in {len(there)} of {len(table)} arms"
        elif found and found[0].startswith("at ") and len(factors) == 1:
            which = f"at *{there.iloc[0][factors[0]]}*"
        else:
            which = f"at {arm(there.iloc[0][factors])}"
        found.append(f"{which} ({number})")
    return f"lowest {found[0]} and highest {found[1]}"


def front(figure: Figure, planned: PlannedStudy, runs: pd.DataFrame) -> str:
    """The arms on the Pareto front of each cost, from the cheapest, costs with the same front together; of many, how
    many, with the first and the last."""
    (metric,) = figure.y
    fronts: dict[tuple[str, ...], list[str]] = {}
    for cost in figure.x:
        arms = costs(planned, runs, cost, metric)
        on = [
            f"{arm(row[list(planned.factors)])} ({value(metric, row[metric])})"
            for _, row in arms[arms["front"]].iterrows()
        ]
        fronts.setdefault(tuple(on), []).append(COST_IN_WORDS[cost])
    told = [f"by {listing(by)}, {from_to(list(on))}" for on, by in fronts.items()]
    return f"on the Pareto front of {named(metric)[0]} stand, {'; '.join(told)}"


def from_to(arms: list[str]) -> str:
    """The arms on a front, of many their number, the first and the last."""
    if len(arms) <= MOST_ARMS:
        return listing(arms) or "no arm"
    return f"{len(arms)} arms, from {arms[0]} to {arms[-1]}"


def arm(levels: pd.Series) -> str:
    """An arm, or group of arms, by its levels: `shortcut *none*, depth *56*`."""
    return ", ".join(f"{words(factor)} *{level}*" for factor, level in levels.items())


# ------------------------------------------------------------------------------------------ what is drawn

COST_IN_WORDS = {"macs": "multiply-adds", "parameters": "parameters", "seconds": "training time"}
INTERVALS = "95 % intervals of the mean (Student's t)"


def marks_of(figure: Figure, planned: PlannedStudy, runs: pd.DataFrame) -> str:
    """What the marks of a figure are."""
    if figure.kind == "curves":
        marks = f"thin lines are runs, thick lines their means, bands {INTERVALS}"
        return marks + ("; a cross ends a run that diverged" if (runs["status"] == "diverged").any() else "")
    listed = figure.kind == "levels" and is_listed(planned, figure)
    joined = not listed and (figure.kind == "levels" or len(planned.factors) > 1)
    marks = f"dots are runs, {'lines join' if joined else 'large marks'} their means, bars {INTERVALS}"
    if figure.kind == "levels":
        return marks
    others = [words(factor) for factor in planned.factors if factor != figure.colour]
    marks += "; rings and grey steps are the Pareto front of the means"
    marks += f"; at the points stands the {' and '.join(others)}" if others else ""
    if "seconds" in figure.x:
        trained = runs[runs["status"] == "finished"].groupby(list(planned.factors), observed=True).ngroups
        if trained < runs.groupby(list(planned.factors), observed=True).ngroups:
            marks += "; arms of which no run finished have no time"
    return marks


def seeds(planned: PlannedStudy, runs: pd.DataFrame) -> str:
    """The number of runs of the arms: `5 seeds`, `3 to 5 seeds`."""
    counts = runs.groupby(list(planned.factors), observed=True).size()
    least = int(counts.min()) if len(counts) == len(planned.arms) else 0
    most = int(counts.max()) if len(counts) else 0
    return f"{most} seed{'' if most == 1 else 's'}" if least == most else f"{least} to {most} seeds"


def divergence(runs: pd.DataFrame) -> str:
    """How many runs diverged; empty where none did."""
    count = int((runs["status"] == "diverged").sum())
    verb = "counts" if count == 1 else "count"
    return f"{count} of {len(runs)} runs diverged and {verb} as guessing." if count else ""


# ------------------------------------------------------------------------------------------ the headline


def headline_caption(plan: Plan, verdicts: pd.DataFrame) -> str:
    """What the figure of all verdicts of a report shows."""
    counts = verdicts["verdict"].value_counts()
    order = [told for told in ("supported", "refuted", "inconclusive", "not tested") if told in counts]
    told = listing([f"{counts[each]} {'is' if counts[each] == 1 else 'are'} {each}" for each in order])
    claims = [plan.study(row.study).study.claims[row.claim] for row in verdicts.itertuples()]
    notes = [
        "the scale is linear from −1 to 1 and logarithmic beyond",
        "within the grey bars differences are too small to matter",
    ]
    if not all(in_percent(claim.metric) for claim in claims):
        notes.append("those printed with % are relative to the other arm's mean")
    if any(claim.kind == "crossover" for claim in claims):
        notes.append("a crossover has a mark and an interval for each of its two differences")
    return (
        f"**All verdicts.** Of {len(verdicts)} claims {told}. Differences of means in percentage points with 95 % intervals, not adjusted "
        f"for the number of claims, turned so that the claimed direction is to the right; {'; '.join(notes)}."
    )
