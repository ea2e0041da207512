"""What the captions of the figures say: what the runs show first, in numbers, then what is drawn. Whether a difference
is more than chance is told by the verdicts alone."""

from __future__ import annotations

import pandas as pd

from ablations import layout
from ablations.collect import read_table
from ablations.config import Figure, listing, named, words
from ablations.figure_data import after_training, costs, curves, factors_of, is_listed, labels, means
from ablations.findings import change, in_percent, value
from ablations.plan import Plan, PlannedStudy

MOST_ARMS = 4  # of a front, that are named one by one


def caption(figure: Figure, planned: PlannedStudy, runs: pd.DataFrame, history: pd.DataFrame) -> str:
    """What a figure shows, how many seeds, and what its marks are, in Markdown."""
    marks = marks_of(figure, planned, runs)
    others = [words(name) for name in planned.factors if name not in factors_of(planned, figure)]
    pooled = f"; the arms of every {' and '.join(others)} together" if others else ""
    shown = f"{figure.title}; n = {seeds(planned, runs)} an arm; {marks}{pooled}."
    return " ".join(filter(None, [finding(figure, planned, runs, history), shown, divergence(runs)]))


# ------------------------------------------------------------------------------------------ findings


def finding(figure: Figure, planned: PlannedStudy, runs: pd.DataFrame, history: pd.DataFrame) -> str:
    """What the runs show, in a sentence."""
    factors = factors_of(planned, figure)
    if figure.kind == "cost":
        told = front(figure, planned, runs)
    elif figure.kind == "curves":
        (metric,) = figure.y
        last = after_training(curves(planned, figure, runs, history), metric)
        told = f"after the last epoch, {extremes(means(last, factors, metric), metric)}"
    else:
        tables = [(metric, means(runs, factors, metric)) for metric in figure.y]
        two = figure.x[0] != figure.colour and len(labels(planned, figure.colour)) == 2
        told = "; ".join(
            (comparison(figure, table, metric) if two else "") or extremes(table, metric)
            for metric, table in tables
        )
    return f"{told[0].upper()}{told[1:]}."


def extremes(table: pd.DataFrame, metric: str) -> str:
    """Where the mean of a metric is lowest and highest; ties as printed are counted."""
    name, factors = named(metric)[0], [column for column in table if column != metric]
    if table.empty:
        return f"no run has a {name}"
    printed = table[metric].map(lambda mean: value(metric, mean))
    if printed.nunique() == 1:
        return f"{name} is {printed.iloc[0]} " + (
            f"at {arm(table.iloc[0][factors])}" if len(table) == 1 else "in every arm"
        )
    ends = []
    for number in (printed[table[metric].idxmin()], printed[table[metric].idxmax()]):
        there = table[printed == number]
        which = (
            f"at {arm(there.iloc[0][factors])}"
            if len(there) == 1
            else f"in {len(there)} of {len(table)} arms"
        )
        ends.append(f"{which} ({number})")
    return f"{name} is lowest {ends[0]} and highest {ends[1]}"


def comparison(figure: Figure, table: pd.DataFrame, metric: str) -> str:
    """At how many levels of `x` one of two colours is below the other; empty where both are at no two of them."""
    (x,), colour = figure.x, figure.colour
    wide = table.pivot(index=x, columns=colour, values=metric).dropna()
    if wide.shape[1] < 2 or len(wide) < 2:
        return ""
    first, second = wide.columns
    above = wide[first] - wide[second]
    if (above > 0).sum() < (above < 0).sum():
        first, second, above = second, first, -above
    count = (above > 0).sum()
    by = f", by {change(metric, above.max(), sign='')} {'' if count == 1 else 'at most'}".rstrip()
    return (
        f"{named(metric)[0]} is lower with {words(colour)} *{second}* than with *{first}* at {count} of {len(wide)} "
        f"levels of {words(x)}{by if count else ''}"
    )


def front(figure: Figure, planned: PlannedStudy, runs: pd.DataFrame) -> str:
    """The arms on the Pareto front of each cost, costs with the same front together."""
    (metric,) = figure.y
    fronts: dict[str, list[str]] = {}
    for cost in figure.x:
        arms = costs(planned, runs, cost, metric)
        on = [
            f"{arm(row[list(planned.factors)])} ({value(metric, row[metric])})"
            for _, row in arms[arms["front"]].iterrows()
        ]
        if len(on) > MOST_ARMS:
            on = [f"{len(on)} arms from {on[0]} to {on[-1]}"]
        fronts.setdefault(listing(on) or "no arm", []).append(COST_IN_WORDS[cost])
    told = [f"by {listing(by)}, {on}" for on, by in fronts.items()]
    return f"on the Pareto front of {named(metric)[0]} stand, {'; '.join(told)}"


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
    joined = figure.kind == "levels" or len(planned.factors) > 1
    mean = "strokes" if listed else "lines join" if joined else "large marks"
    marks = f"dots are runs, {mean} their means, bars {INTERVALS}"
    if figure.kind == "levels":
        return marks
    others = [words(factor) for factor in planned.factors if factor != figure.colour]
    marks += (
        "; rings and grey steps are the Pareto front, the arms that no other matches in both and beats in one"
    )
    marks += f"; beside the points stands the {' and '.join(others)}" if others else ""
    if "seconds" in figure.x:
        marks += (
            "; training time is the wall time of a run on the machine of this report, which other jobs shared, the "
            "median of the runs that finished"
        )
        trained = runs[runs["status"] == "finished"].groupby(list(planned.factors), observed=True).ngroups
        if trained < runs.groupby(list(planned.factors), observed=True).ngroups:
            marks += ", without the arms of which none did"
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


def headline_caption(plan: Plan, name: str) -> str:
    """What the figure of all verdicts of a report shows."""
    verdicts = read_table(layout.verdicts(plan.suite_name, name))
    counts = verdicts["verdict"].value_counts()
    order = [told for told in ("supported", "refuted", "inconclusive", "not tested") if told in counts]
    told = listing([f"{counts[each]} {'is' if counts[each] == 1 else 'are'} {each}" for each in order])
    claims = [plan.study(row.study).study.claims[row.claim] for row in verdicts.itertuples()]
    notes = [
        "the scale is linear from -1 to 1 and logarithmic beyond",
        "within the grey bars differences are too small to matter",
    ]
    if not all(in_percent(claim.metric) for claim in claims):
        notes.append("those printed with % are relative to the other arm's mean")
    if any(claim.kind == "crossover" for claim in claims):
        notes.append("a crossover has a mark for each of its two differences")
    return (
        f"Of {len(verdicts)} claims {told}. Differences of means in percentage points with 95 % intervals, not adjusted "
        f"for the number of claims, turned so that the claimed direction is to the right; {'; '.join(notes)}."
    )
