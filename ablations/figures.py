"""Figures of a study from its table of runs: SVG, with the data behind each as CSV beside it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, NullFormatter

from ablations import layout
from ablations.collect import read_runs, read_table, write_table
from ablations.config import METRICS, Figure, words
from ablations.contrasts import mean_interval
from ablations.diagnostic_figures import draw_diagnostic
from ablations.figure_data import costs, curves, factors_of, is_listed, is_wide, labels, within
from ablations.mechanisms import drawable, read_diagnostic
from ablations.plan import TUNED, Plan, PlannedStudy
from ablations.plotting import (
    FRONT,
    GREY,
    STYLE,
    least_range,
    legend,
    looks,
    name_above,
    name_lines,
    name_points,
    panels,
    points,
)
from ablations.tuning import read_trials
from ablations.tuning_figures import draw_search


def draw(plan: Plan, name: str) -> None:
    """Draw every figure of a study into report/<suite>/figures/<study>/."""
    planned = plan.study(name)
    runs = read_runs(plan.suite_name, planned)
    history = read_table(layout.study_table(plan.suite_name, name, "history"))
    folder = layout.figures(plan.suite_name, name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for figure_name, figure in planned.study.figures.items():
        with plt.rc_context(STYLE):
            behind = KINDS[figure.kind](planned, figure, runs, history)
            plt.savefig(folder / f"{figure_name}.svg", metadata={"Date": None})
            plt.close()
        write_table(behind, folder / f"{figure_name}.csv")
    for diagnostic in planned.study.diagnostics:
        table = read_diagnostic(plan.suite_name, planned, diagnostic)
        if table is not None and drawable(table):
            with plt.rc_context(STYLE):
                draw_diagnostic(planned, diagnostic, table)
                plt.savefig(folder / f"{diagnostic}.svg", metadata={"Date": None})
                plt.close()
            write_table(table, folder / f"{diagnostic}.csv")
    if name.endswith(TUNED):
        untuned = plan.study(name.removesuffix(TUNED))
        draw_search(untuned, read_trials(plan.suite_name, untuned), folder)


# ------------------------------------------------------------------------------------------ levels


def draw_levels(
    planned: PlannedStudy, figure: Figure, runs: pd.DataFrame, history: pd.DataFrame
) -> pd.DataFrame:
    """Metrics against a factor's levels: every seed a dot, the mean with its 95 % interval, a panel a metric.
    Levels that are words stand below each other, beside their dots; those that are numbers along an axis, means
    joined."""
    (x,) = figure.x
    levels, listed, told = labels(planned, x), is_listed(planned, figure), looks(planned, figure.colour)
    abreast = 1 if x == figure.colour else len(told)  # dots of how many levels share a place
    apart = 0.7 / abreast if listed else min(0.12, 0.4 / abreast)
    height = 0.45 + len(levels) * (0.09 + 0.07 * abreast) if listed else 1.55
    axes, ends = panels(len(figure.y), is_wide(planned, figure), share=listed, height=height), []
    for ax, metric in zip(axes, figure.y, strict=True):
        ends.append({})
        for number, (level, look) in enumerate(told.items()):
            of_level = runs[runs[figure.colour] == level]
            shift = apart * (number - (abreast - 1) / 2) if abreast > 1 else 0
            groups = [of_level[of_level[x] == place] for place in levels]
            points(ax, np.arange(len(levels)) + shift, groups, metric, look, level, listed)
            if groups[-1][metric].notna().any():
                ends[-1][level] = groups[-1][metric].mean()
        if listed:
            ax.set_yticks(range(len(levels)), levels)
            ax.set(xlabel=METRICS[metric], ylim=(len(levels) - 0.5, -0.5))
            ax.set_xlim(min(0, runs[metric].min()), max(ax.get_xlim()[1], least_range(metric)))
        else:
            ax.set_xticks(range(len(levels)), levels)
            ax.set(xlabel=words(x), ylabel=METRICS[metric])
            ax.set_ylim(min(0, runs[metric].min()), max(ax.get_ylim()[1], least_range(metric)))
    if listed:
        axes[0].set_ylabel(words(x))
    if abreast > 1 and listed:
        legend(axes, figure.colour)
    elif abreast > 1:
        name_lines(axes, figure.colour, ends, told)
    return runs[[*factors_of(planned, figure), "seed", *figure.y]]


# ------------------------------------------------------------------------------------------ cost


def draw_cost(
    planned: PlannedStudy, figure: Figure, runs: pd.DataFrame, history: pd.DataFrame
) -> pd.DataFrame:
    """A metric against the costs of arms, on logarithmic axes, a panel a cost, with the Pareto front. Above the points
    of about equal cost, or beside each, stand the levels of the factors that the colours do not tell; of a study of one
    factor, in one panel, the levels that they tell."""
    (metric,) = figure.y
    factors, told = list(planned.factors), looks(planned, figure.colour)
    behind = runs[["network", *factors, "seed", "status", *figure.x, metric]]
    axes = panels(len(figure.x), is_wide(planned, figure), share=True, height=1.7)
    by_cost = {cost: costs(planned, runs, cost, metric) for cost in figure.x}
    for ax, (cost, arms) in zip(axes, by_cost.items(), strict=True):
        ax.set(xscale="log", autoscalex_on=False)  # set below
        for level, look in told.items():
            of_level = arms[arms[figure.colour] == level]
            groups = [runs[(runs[factors] == arm).all(axis=1)] for _, arm in of_level[factors].iterrows()]
            points(ax, of_level[cost], groups, metric, look, level, joined=len(factors) > 1, along=cost)
        draw_front(ax, arms[arms["front"]], cost, metric)
        set_cost_axis(ax, cost, runs.loc[runs[metric].notna(), cost].dropna())
        behind = behind.merge(
            arms[[*factors, "front"]].rename(columns={"front": f"front_{cost}"}), how="left"
        )
    axes[0].set_ylabel(METRICS[metric])
    axes[0].set_ylim(max(0, axes[0].get_ylim()[0]), None)
    if len(factors) == 1 and len(axes) == 1:
        placed = name_points(axes[0], names_of_arms(planned, figure, arms, cost), 8)
        if len(placed) == len(arms):
            return behind
        for name in placed:
            name.remove()
    others = [words(factor) for factor in factors if factor != figure.colour]
    legend(axes, figure.colour, f" (at the points: {' and '.join(others)})" if others else "")
    if others:
        name_others(axes, [names_of_arms(planned, figure, arms, cost) for cost, arms in by_cost.items()])
    return behind


def name_others(axes: list[Axes], names: list[list[tuple[float, float, str, str]]]) -> None:
    """Names above the points of about equal cost, in the panels where there is room for all; beside each point in the
    others, once the axes have their final height."""
    together = [of_equal_cost(of_panel) for of_panel in names]
    above = [bool(places) and name_above(ax, places) for ax, places in zip(axes, together, strict=True)]
    for ax, of_panel, told in zip(axes, names, above, strict=True):
        if not told:
            name_points(ax, of_panel)


def draw_front(ax: Axes, front: pd.DataFrame, cost: str, metric: str) -> None:
    """The Pareto front: a step down at each of its arms, which have a ring."""
    style = {"color": GREY, "linewidth": 1, "zorder": 1, "drawstyle": "steps-post"}
    ring = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgewidth": 0.9}
    ax.plot(front[cost], front[metric], label=FRONT, **style, **ring)


def set_cost_axis(ax: Axes, cost: str, seen: pd.Series) -> None:
    """Round numbers along the axis, which spans a factor of 6 at least: arms built for equal cost look like it."""
    low, high = (seen.min(), seen.max()) if len(seen) else (1, 1)
    room = max(1.4, np.sqrt(6 * low / high))
    low, high = low / room, high * room
    decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.log10(high) + 1)
    ticks = [tick for tick in np.outer(decades, (1, 2, 5)).flat if low <= tick <= high]
    ax.set_xlim(low, high)
    ax.set_xticks(ticks if len(ticks) <= 5 else decades[(low <= decades) & (decades <= high)])
    ax.xaxis.set_major_formatter(FuncFormatter("{:g}".format) if cost == "seconds" else EngFormatter(sep=" "))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(METRICS[cost])


def names_of_arms(
    planned: PlannedStudy, figure: Figure, arms: pd.DataFrame, cost: str
) -> list[tuple[float, float, str, str]]:
    """The levels of the other factors, or of the only one there is, at each arm's point in its colour; not for an arm
    that its colour alone tells."""
    told = looks(planned, figure.colour)
    of_colour = Counter(planned.levels(key)[figure.colour] for key in planned.arms)
    others = [name for name in planned.factors if name != figure.colour]
    named = []
    for _, arm in arms.iterrows():
        if not others or of_colour[arm[figure.colour]] > 1:
            name = " ".join(str(arm[other]) for other in others or [figure.colour])
            named.append((arm[cost], arm[figure.y[0]], name, told[arm[figure.colour]].colour))
    return named


def of_equal_cost(names: list[tuple[float, float, str, str]]) -> dict[str, float]:
    """By name, the middle of the costs of the points that have it, where these are within a factor of 2 and apart from
    the costs of all others; nothing where that does not hold for every name."""
    places = {name: [x for x, _, other, _ in names if other == name] for _, _, name, _ in names}
    ranges = sorted((min(costs), max(costs)) for costs in places.values())
    apart = all(high < low for (_, high), (low, _) in pairwise(ranges))
    near = all(high <= 2 * low for low, high in ranges)
    return (
        {name: np.sqrt(min(costs) * max(costs)) for name, costs in places.items()} if apart and near else {}
    )


# ------------------------------------------------------------------------------------------ curves


def draw_curves(
    planned: PlannedStudy, figure: Figure, runs: pd.DataFrame, history: pd.DataFrame
) -> pd.DataFrame:
    """A metric against epochs, a thin line a seed, the mean thick with its 95 % interval as a band, a panel a level of
    the factor `panels`. A run that diverged ends in a cross; the mean counts it as guessing from there."""
    (metric,) = figure.y
    lines, told = curves(planned, figure, runs, history), looks(planned, figure.colour)
    levels = labels(planned, figure.panels) if figure.panels else [None]
    axes, ends = panels(len(levels), is_wide(planned, figure), share=True), []
    for ax, panel in zip(axes, levels, strict=True):
        of_panel = lines[lines[figure.panels] == panel] if figure.panels else lines
        ends.append({})
        for level, look in told.items():
            mean = draw_curve(ax, of_panel[of_panel[figure.colour] == level], metric, look.colour)
            ax.plot(mean, color=look.colour, linestyle=look.line, linewidth=1.8, label=level)
            if len(mean):
                ends[-1][level] = mean.iloc[-1]
        ax.set(title=f"{words(figure.panels)} {panel}" if figure.panels else "", xlabel="epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel(METRICS[metric])
    axes[0].set_ylim(0, None)
    if figure.panels != figure.colour:
        name_lines(axes, figure.colour, ends, told)
    return lines.drop(columns="run")


def draw_curve(ax: Axes, lines: pd.DataFrame, metric: str, colour: str) -> pd.Series:
    """The runs of a level and the band of their mean; gives the mean, as far as all of them were trained. Runs that
    ended at the same place have one cross, with their number."""
    crosses: Counter[tuple[float, float]] = Counter()
    for _, line in lines.groupby("run"):
        trained = line[line["status"] == "finished"]
        ax.plot(trained["epoch"], trained[metric], color=colour, linewidth=0.6, alpha=0.4)
        if len(trained) < len(line):
            crosses.update(zip(trained["epoch"].tail(1), trained[metric].tail(1).round(), strict=True))
    for place, count in crosses.items():
        ax.plot(*place, "x", color=colour, markersize=5)
        if count > 1:
            ax.annotate(
                f"×{count}", place, (4, 0), textcoords="offset points", va="center", fontsize=7, color=colour
            )
    by_epoch = lines.groupby("epoch")[metric]
    whole = by_epoch.count() == lines["run"].nunique()
    intervals = by_epoch.apply(lambda values: within(metric, mean_interval(values.to_numpy(float))))[whole]
    mean, low, high = np.array(intervals.to_list()).T if len(intervals) else np.empty((3, 0))
    ax.fill_between(intervals.index, low, high, color=colour, alpha=0.13, linewidth=0)
    return pd.Series(mean, intervals.index)


KINDS: dict[str, Callable[..., pd.DataFrame]] = {
    "levels": draw_levels,
    "cost": draw_cost,
    "curves": draw_curves,
}
