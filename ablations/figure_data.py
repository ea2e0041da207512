"""What a study's figures draw and their captions tell: groups of runs, costs with their Pareto front, curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ablations.config import Figure, named
from ablations.plan import PlannedStudy


def is_number(label: str) -> bool:
    """Whether a level is written as a number."""
    try:
        float(label)
    except ValueError:
        return False
    return True


def labels(planned: PlannedStudy, factor: str) -> list[str]:
    """The levels of a factor, in their order."""
    return [level.label for level in planned.factors[factor].levels]


def is_listed(planned: PlannedStudy, figure: Figure) -> bool:
    """Whether the levels of a figure stand below each other: those that are words. Numbers, and `none` among them,
    stand along an axis."""
    levels = labels(planned, figure.x[0])
    return levels == ["none"] or not all(is_number(level) for level in levels if level != "none")


def is_wide(planned: PlannedStudy, figure: Figure) -> bool:
    """Whether a figure takes the whole width of a page: one of more than two panels, or of two beside names."""
    of_panels = labels(planned, figure.panels) if figure.panels else [None]
    count = len({"levels": figure.y, "cost": figure.x, "curves": of_panels}[figure.kind])
    return count > 2 or (count == 2 and figure.kind == "levels" and is_listed(planned, figure))


def factors_of(planned: PlannedStudy, figure: Figure) -> list[str]:
    """The factors whose levels a figure tells apart."""
    if figure.kind == "cost":
        return list(planned.factors)
    other = figure.x[0] if figure.kind == "levels" else figure.panels
    return [factor for factor in planned.factors if factor in (figure.colour, other)]


def within(metric: str, numbers: Sequence[float]) -> list[float]:
    """Numbers no further than the metric can go: percentages from 0 to 100, differences of them from -100, and
    everything else from 0. Intervals are made as if it had no ends."""
    low, high = {"%": (0, 100), "pp": (-100, 100)}.get(named(metric)[1], (0, np.inf))
    return np.clip(numbers, low, high).tolist()


def means(runs: pd.DataFrame, factors: Sequence[str], metric: str) -> pd.DataFrame:
    """The mean of a metric over the runs of each combination of levels, in their order; without those that have
    none."""
    return runs.groupby(list(factors), observed=True)[metric].mean().dropna().reset_index()


def costs(planned: PlannedStudy, runs: pd.DataFrame, cost: str, metric: str) -> pd.DataFrame:
    """The mean of a metric and the cost of each arm, and whether it is on the front. Training time is the median of
    the runs that finished, since those that diverge end early; an arm without any has none and is left out."""
    table = means(runs, list(planned.factors), metric)
    counted = runs[runs["status"] == "finished"] if cost == "seconds" else runs
    of_arms = counted.groupby(list(planned.factors), observed=True)[cost].median().dropna().reset_index()
    table = table.merge(of_arms, on=list(planned.factors)).sort_values(cost, ignore_index=True)
    return table.assign(front=pareto(table[cost].to_numpy(float), table[metric].to_numpy(float)))


# Costs that differ by no more, as a part of the greater, count as equal: those of arms matched in another cost do.
EQUAL_COST = 0.05


def pareto(costs: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Which points no other is as good as in both and better in one, costs within EQUAL_COST being equal."""
    no_dearer = (1 - EQUAL_COST) * costs[:, None] <= costs  # the row than the column
    cheaper = costs[:, None] < (1 - EQUAL_COST) * costs
    lower, no_higher = errors[:, None] < errors, errors[:, None] <= errors
    return ~(no_dearer & lower | cheaper & no_higher).any(axis=0)


def curves(planned: PlannedStudy, figure: Figure, runs: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """The metric of every run after each epoch. A run that diverged goes on to the last epoch of the figure with the
    value of guessing, which its row in the table of runs has; these rows have the status `diverged`."""
    (metric,) = figure.y
    columns = ["run", *factors_of(planned, figure), "seed"]
    measured = history[["run", "epoch", metric]].dropna()
    lines = runs[columns].merge(measured, on="run").assign(status="finished")
    ends, diverged = measured.groupby("run")["epoch"].max(), runs[runs["status"] == "diverged"]
    after = [
        diverged[diverged["run"] == run][[*columns, metric]].assign(epoch=epoch, status="diverged")
        for run in diverged["run"].unique()
        for epoch in range(ends.get(run, 0) + 1, history["epoch"].max() + 1)
    ]
    return pd.concat([lines, *after], ignore_index=True)


def after_training(lines: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The last row of each run's line."""
    of_run = [column for column in lines if column not in ("epoch", "status", metric)]
    return lines.sort_values("epoch").drop_duplicates(of_run, keep="last")
