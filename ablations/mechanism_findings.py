"""What the tables of diagnostics say, in sentences with numbers: findings, whether they are as published, captions.
They describe: no differences are tested here. No torch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import isnan

import pandas as pd

from ablations.config import listing, words
from ablations.mechanisms import MECHANISMS, Measure, number
from ablations.networks import ResNet
from ablations.plan import PlannedStudy

FEW = 3  # arms of a panel that are all told; of more, the extremes
IN_CAPTION = 2  # measures of which a caption tells; the paragraph tells all

# Kinds of networks that published work compares.
TRAITS: dict[str, Callable[[ResNet], bool]] = {
    "shortcuts": lambda model: model.shortcut != "none",
    "norm": lambda model: model.norm != "none",
}
SIDES = {"shortcuts": ("with shortcuts", "without"), "norm": ("with a norm", "without")}


# ------------------------------------------------------------------------------------------ the paragraph


def paragraph(planned: PlannedStudy, name: str, table: pd.DataFrame) -> str:
    """The numbers found by panel and level of the colour's factor, and whether they are as published."""
    told = [*findings(planned, name, table), *divergence(planned, name, table)]
    return " ".join([*told, conclusion(planned, name, table)])


def findings(planned: PlannedStudy, name: str, table: pd.DataFrame) -> list[str]:
    """The numbers of each panel in a sentence, of many arms those of the lowest and the highest; what tells them apart
    once."""
    colour, found, before = planned.study.diagnostics[name].colour, [], ""
    for panel, row in MECHANISMS[name].panels.items():
        arms = arms_of(planned, name, table, panel) if row.told else {}
        heights = {level: row.by(points, row.curve(points)) for level, points in arms.items()}
        ranked = sorted((level for level in heights if not isnan(heights[level])), key=heights.get)
        apart, chosen = f", by {words(colour)}", list(arms)
        if len(ranked) > FEW:
            apart += f" (the lowest and the highest of {len(arms)})"
            chosen = [ranked[0], ranked[-1], *(level for level in arms if level not in ranked)]
        told = [f"*{level}* {row.tell(arms[level], row.curve(arms[level]))}" for level in chosen]
        if told:
            found.append(f"{capital(panel)}{apart if apart != before else ''}: {'; '.join(told)}.")
            before = apart
    return found


def divergence(planned: PlannedStudy, name: str, table: pd.DataFrame) -> list[str]:
    """How many runs of which arms diverged, in a sentence; nothing where none did."""
    counts = diverged(planned, name, table)
    told = listing([f"*{level}* ({count} run{'' if count == 1 else 's'})" for level, count in counts.items()])
    colour = words(planned.study.diagnostics[name].colour)
    return [f"Runs that diverged have no trained network to measure: {colour} {told}."] if told else []


# ------------------------------------------------------------------------------------------ as published?


def conclusion(planned: PlannedStudy, name: str, table: pd.DataFrame) -> str:
    """Whether the measures are as published, in a sentence: by the number of pairs of arms, one with and one without
    the trait that the statement is about, in which the first is nearer to what published work has; with the numbers
    where the findings leave some out. How published work differs is said too."""
    mechanism = MECHANISMS[name]
    if mechanism.counted:
        return "This is as published by construction: nothing was measured."
    trait, sides = split(planned, name)
    if trait is None:
        return "Published comparisons are of other networks than these arms."
    told, held, pairs = [], 0, 0
    for measure in mechanism.measures:
        values = measured(planned, name, table, measure)
        first, second = ([values[level] for level in side if level in values] for side in sides)
        if trait == "chance":
            outcomes = [measure.away(value) < 0 for value in first]
            numbers = f" ({span(first)}, by chance {number(0.5)})"
        else:
            outcomes = [measure.away(one) < measure.away(other) for one, other in product(first, second)]
            having, lacking = SIDES[trait]
            numbers = f" ({span(first)} {having}, {span(second)} {lacking})"
        held, pairs = held + sum(outcomes), pairs + len(outcomes)
        told.append(f"{measure.name}{numbers if len(first) + len(second) > FEW else ''}")
    statement = mechanism.published[trait]
    if not pairs:
        return f"Whether {statement}, as published, cannot be said: there is nothing to compare."
    how = "In line" if held == pairs else "Partly in line" if held else "Not in line"
    loose = f" ({mechanism.unlike})" if mechanism.unlike else ""
    of_seed = " of one seed each" if mechanism.seeds == 1 else ""
    return (
        f"{how} with what is published{loose}: that {statement} holds in {held} of {pairs} comparison"
        f"{'' if pairs == 1 else 's'} of arms{of_seed}, made without a test, by {listing(told)}."
    )


def split(planned: PlannedStudy, name: str) -> tuple[str | None, tuple[list[str], list[str]]]:
    """The first trait in a mechanism's published statements that some of its arms have and others lack, with the
    levels of both; None where there is none. "chance" is a trait of all."""
    asked = planned.study.diagnostics[name]
    models = {planned.levels(key)[asked.colour]: arm.model for key, arm in planned.select(asked.arms).items()}
    for trait in MECHANISMS[name].published:
        if trait == "chance":
            return trait, (list(models), [])
        of_kind = {level: TRAITS[trait](model) for level, model in models.items() if model.family == "resnet"}
        sides = tuple([level for level, has in of_kind.items() if has == side] for side in (True, False))
        if all(sides):
            return trait, sides
    return None, ([], [])


def span(values: list[float]) -> str:
    """`0.7 to 0.8`, as printed; `undefined` where there are none."""
    ends = list(dict.fromkeys(number(end) for end in (min(values), max(values)))) if values else ["undefined"]
    return " to ".join(ends)


# ------------------------------------------------------------------------------------------ the caption


def caption(planned: PlannedStudy, name: str, table: pd.DataFrame) -> str:
    """What the figure shows and what was found there, of how many seeds, and what its marks are, in Markdown."""
    mechanism, asked = MECHANISMS[name], planned.study.diagnostics[name]
    levels = planned.levels(next(iter(planned.select(asked.arms))))
    title = ", ".join([mechanism.title, *(f"{words(factor)} {levels[factor]}" for factor in asked.arms)])
    logarithmic = [panel for panel, row in mechanism.panels.items() if row.logarithmic]
    zeros = (table["panel"].isin(logarithmic) & (table["value"] == 0)).any()
    shown = [
        "" if mechanism.counted else seeds(planned, name, table),
        lines(name) if mechanism.lines else "",
        mechanism.shown,
        "zeros are off the logarithmic axis" if zeros else "",
    ]
    told = "; ".join(filter(None, shown))
    return f"**{title}.** {finding(planned, name, table)} {capital(told) if mechanism.counted else told}."


def finding(planned: PlannedStudy, name: str, table: pd.DataFrame) -> str:
    """Where the first measures are lowest and highest, in a sentence."""
    colour = words(planned.study.diagnostics[name].colour)
    told = [
        extremes(measure.name, measured(planned, name, table, measure), colour)
        for measure in MECHANISMS[name].measures[:IN_CAPTION]
    ]
    return f"{capital('; '.join(told))}."


def extremes(name: str, values: dict[str, float], factor: str) -> str:
    """Where a measure is lowest and highest, by level; those that are the same as printed together."""
    printed = {level: number(value) for level, value in values.items()}
    if not printed:
        return f"{name} is undefined"
    ends = printed[min(values, key=values.get)], printed[max(values, key=values.get)]
    lowest, highest = (f"{among(printed, end)} ({end})" for end in ends)
    if ends[0] == ends[1]:
        return f"{name} is {ends[0]} with {factor} {among(printed, ends[0])}"
    return f"{name} is lowest with {factor} {lowest} and highest with {highest}"


def among(printed: dict[str, str], value: str) -> str:
    """The levels with a value, as printed."""
    return listing([f"*{level}*" for level, each in printed.items() if each == value])


def lines(name: str) -> str:
    """What the thin and thick lines of a mechanism are."""
    kinds = {row.logarithmic for row in MECHANISMS[name].rows}
    middle = (
        "means, on logarithmic axes medians" if len(kinds) == 2 else "medians" if True in kinds else "means"
    )
    return f"thin lines are runs, thick lines their {middle}"


def seeds(planned: PlannedStudy, name: str, table: pd.DataFrame) -> str:
    """How many seeds of an arm were measured, and where fewer than elsewhere, why: `n = 5 seeds an arm, but 1 of
    *none*, trained (4 diverged)`."""
    mechanism, colour = MECHANISMS[name], planned.study.diagnostics[name].colour
    stages = table["status"].eq("initial").map({True: "at initialisation", False: "trained"})
    there = [stage for stage in ("at initialisation", "trained") if (stages == stage).any()]
    counts = {
        (level, stage): table["seed"][
            (table[colour] == level) & (stages == stage) & table["value"].notna()
        ].nunique()
        for level in levels_in(planned, name, table)
        for stage in there
    }
    most = max(counts.values(), default=0)
    lost = diverged(planned, name, table)
    fewer = []
    for (level, stage), count in counts.items():
        if count < most:
            gone = lost.get(level, 0) if stage == "trained" else 0
            reasons = [f"{gone} diverged"] if gone else []
            reasons += [f"{most - count - gone} not finished"] if most - count - gone > 0 else []
            at = f", {stage}" if len(there) > 1 else ""
            fewer.append(f"{count} of *{level}*{at} ({', '.join(reasons)})")
    told = f"n = {most} seed{'' if most == 1 else 's'} an arm"
    if len(planned.seeds) > mechanism.seeds:
        told += f", the first of {len(planned.seeds)}, to save time"
    return told + (f", but {listing(fewer)}" if fewer else "")


# ------------------------------------------------------------------------------------------ reading the table


def levels_in(planned: PlannedStudy, name: str, table: pd.DataFrame) -> list[str]:
    """The levels of the colour's factor that a table has, in their order."""
    colour = planned.study.diagnostics[name].colour
    there = set(table[colour])
    return [level.label for level in planned.factors[colour].levels if level.label in there]


def arms_of(planned: PlannedStudy, name: str, table: pd.DataFrame, panel: str) -> dict[str, pd.DataFrame]:
    """The points in a panel by level, of the arms that have any."""
    colour = planned.study.diagnostics[name].colour
    points = table[table["panel"] == panel].dropna(subset="value")
    told = {level: points[points[colour] == level] for level in levels_in(planned, name, table)}
    return {level: each for level, each in told.items() if len(each)}


def measured(planned: PlannedStudy, name: str, table: pd.DataFrame, measure: Measure) -> dict[str, float]:
    """A measure by level, of the arms that have one."""
    row = MECHANISMS[name].panels[measure.panel]
    arms = arms_of(planned, name, table, measure.panel)
    values = {level: measure.of(points, row.curve(points)) for level, points in arms.items()}
    return {level: value for level, value in values.items() if not isnan(value)}


def diverged(planned: PlannedStudy, name: str, table: pd.DataFrame) -> dict[str, int]:
    """The number of runs that diverged by level, of the levels with any."""
    colour = planned.study.diagnostics[name].colour
    runs = table[table["status"] == "diverged"][[colour, "seed"]].drop_duplicates()
    counts = runs[colour].value_counts()
    return {level: int(counts[level]) for level in levels_in(planned, name, table) if level in counts}


def capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"
