"""Figures of a study from its table of runs: SVG, with the data behind each as CSV beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from ablations import layout
from ablations.collect import read_runs, read_table, write_table
from ablations.config import METRICS, Figure, words
from ablations.diagnostic_figures import draw_diagnostic
from ablations.mechanisms import read_diagnostic
from ablations.plan import Plan, PlannedStudy
from ablations.plotting import NEUTRAL, STYLE, colours, is_number, least_range, legend, panels, points

COSTS = {"macs": "multiply-adds an image", "parameters": "parameters"}


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
        if table is not None:
            with plt.rc_context(STYLE):
                draw_diagnostic(planned, diagnostic, table)
                plt.savefig(folder / f"{diagnostic}.svg", metadata={"Date": None})
                plt.close()
            write_table(table, folder / f"{diagnostic}.csv")


def draw_levels(
    planned: PlannedStudy, figure: Figure, runs: pd.DataFrame, history: pd.DataFrame
) -> pd.DataFrame:
    """Metrics against a factor's levels: every seed a dot, the mean with its 95 % interval, a panel a metric.
    Levels that are words stand below each other, beside their dots; those that are numbers along an axis, means
    joined."""
    columns = list(dict.fromkeys([figure.x, figure.colour]))
    behind = runs[[*columns, "seed", *figure.y]]
    levels = [level.label for level in planned.factors[figure.x].levels]
    told = {"": NEUTRAL} if figure.x == figure.colour else colours(planned.factors[figure.colour])
    listed = not all(is_number(level) for level in levels if level != "none") or levels == ["none"]
    height = max(2.8, 0.8 + len(levels) * (0.14 + 0.1 * len(told))) if listed else 2.8
    axes = panels(len(figure.y), share=listed, height=height)
    for ax, metric in zip(axes, figure.y, strict=True):
        for number, (level, colour) in enumerate(told.items()):
            of_level = runs[runs[figure.colour] == level] if level else runs
            shift = (0.7 / len(told) if listed else 0.12) * (number - (len(told) - 1) / 2)
            groups = [of_level[of_level[figure.x] == x] for x in levels]
            points(ax, np.arange(len(levels)) + shift, groups, metric, colour, level, listed)
        if listed:
            ax.set_yticks(range(len(levels)), levels)
            ax.set(xlabel=METRICS[metric], ylim=(len(levels) - 0.5, -0.5))
            ax.set_xlim(0, max(ax.get_xlim()[1], least_range(metric)))
        else:
            ax.set_xticks(range(len(levels)), levels)
            ax.set(xlabel=words(figure.x), ylabel=METRICS[metric])
            ax.set_ylim(0, max(ax.get_ylim()[1], least_range(metric)))
    if listed:
        axes[0].set_ylabel(words(figure.x))
    legend(axes, figure.colour)
    return behind


def draw_cost(
    planned: PlannedStudy, figure: Figure, runs: pd.DataFrame, history: pd.DataFrame
) -> pd.DataFrame:
    """Metrics against the cost of an arm, on a logarithmic axis."""
    behind = runs[["network", *planned.factors, "seed", figure.x, *figure.y]]
    axes = panels(len(figure.y))
    for ax, metric in zip(axes, figure.y, strict=True):
        ax.set_xscale("log")
        only = list(planned.factors) == [figure.colour]  # then arms are named beside their points
        told = {"": NEUTRAL} if only else colours(planned.factors[figure.colour])
        for level, colour in told.items():
            of_level = runs[runs[figure.colour] == level] if level else runs
            arms = [arm for _, arm in of_level.groupby(list(planned.factors), observed=True)]
            arms.sort(key=lambda arm: arm[figure.x].iloc[0])
            costs = np.array([arm[figure.x].iloc[0] for arm in arms], dtype=float)
            points(ax, costs, arms, metric, colour, level, joined=not only)
        name_costs(ax, planned, figure, runs, metric)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter(EngFormatter(sep=" "))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set(xlabel=COSTS[figure.x], ylabel=METRICS[metric], ylim=(0, None))
    legend(axes, figure.colour)
    return behind


def name_costs(ax: Axes, planned: PlannedStudy, figure: Figure, runs: pd.DataFrame, metric: str) -> None:
    """The levels of the other factors (of the only one there is), once for arms of equal cost, above the highest
    of them."""
    others = [name for name in planned.factors if name != figure.colour] or [figure.colour]
    for cost, equal in runs.groupby(figure.x):
        levels = dict.fromkeys(" ".join(str(row[name]) for name in others) for _, row in equal.iterrows())
        height = equal.groupby(list(planned.factors), observed=True)[metric].mean().max()
        place = {"xytext": (-5, 5), "textcoords": "offset points", "ha": "right"}
        ax.annotate(" / ".join(levels), (cost, height), fontsize=7, color="#57606a", **place)


def draw_curves(
    planned: PlannedStudy, figure: Figure, runs: pd.DataFrame, history: pd.DataFrame
) -> pd.DataFrame:
    """A metric against epochs, a thin line a seed, the mean thick, a panel a level of the factor `panels`."""
    (metric,) = figure.y
    columns = list(dict.fromkeys([figure.panels, figure.colour]))
    joined = history[["run", "epoch", metric]].merge(runs[["run", "seed", *columns]], on="run")
    levels = [level.label for level in planned.factors[figure.panels].levels]
    axes = panels(len(levels), share=True)
    for ax, panel in zip(axes, levels, strict=True):
        for level, colour in colours(planned.factors[figure.colour]).items():
            lines = joined[(joined[figure.panels] == panel) & (joined[figure.colour] == level)]
            for _, line in lines.groupby("run"):
                ax.plot(line["epoch"], line[metric], color=colour, linewidth=0.7, alpha=0.5)
            mean = lines.groupby("epoch")[metric].mean()
            ax.plot(mean.index, mean, color=colour, linewidth=1.8, label=level)
        ax.set(title=f"{words(figure.panels)}: {panel}", xlabel="epoch")
    axes[0].set(ylabel=METRICS[metric], ylim=(0, None))
    legend(axes, figure.colour)
    return joined[[*columns, "seed", "epoch", metric]]


KINDS: dict[str, Callable[..., pd.DataFrame]] = {
    "levels": draw_levels,
    "cost": draw_cost,
    "curves": draw_curves,
}
