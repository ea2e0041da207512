"""Figures of the diagnostics: what a mechanism measured, from its table."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator, NullFormatter

from ablations.config import words
from ablations.mechanisms import (
    INITIAL,
    JACOBIANS_INITIAL,
    JACOBIANS_TRAINED,
    MECHANISMS,
    TRAINED,
    Mechanism,
    Row,
    bound,
    fills_page,
)
from ablations.plan import PlannedStudy
from ablations.plotting import HALF, WIDTH, Look, legend, looks


def draw_diagnostic(planned: PlannedStudy, name: str, table: pd.DataFrame) -> None:
    """Draw a diagnostic into a new figure."""
    DRAWINGS.get(name, draw_lines)(planned, name, table)


def draw_lines(planned: PlannedStudy, name: str, table: pd.DataFrame) -> None:
    """The value against the position, a thin line a run, their middle thick, panels in rows as the mechanism has
    them."""
    mechanism, colour = MECHANISMS[name], planned.study.diagnostics[name].colour
    there = set(table.dropna(subset="value")[colour])
    told = {level: look for level, look in looks(planned, colour).items() if level in there}
    measured = set(table.dropna(subset="value")["panel"])
    mechanism = replace(mechanism, rows=tuple(r for r in mechanism.rows if measured & set(r.panels)))
    axes = panels_of(mechanism, WIDTH if fills_page(planned, name, table) else HALF)
    for panel, row in mechanism.panels.items():
        ax, label = axes[panel], row.panels[panel]
        for level, look in told.items():
            draw_runs(ax, table[(table["panel"] == panel) & (table[colour] == level)], row, look, level)
        ax.set(title=panel, xlabel=label)
        if label == "epoch":
            scale_epochs(ax, table["position"].dropna())
        else:
            ax.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
        if row.logarithmic:
            ax.set_yscale("log", nonpositive="mask")
    for row in mechanism.rows:
        first = axes[next(iter(row.panels))]
        first.set_ylabel(row.value)
        if row.logarithmic:
            number_decades(first)
        else:
            first.set_ylim(min(0, first.get_ylim()[0]), None)
    if name == "gradient-by-layer":
        draw_bounds(axes, table, colour, told)
    legend(list(axes.values()), words(colour))


def draw_bounds(axes: dict[str, Axes], table: pd.DataFrame, colour: str, told: dict[str, Look]) -> None:
    """Beside the gradients of each arm, dashed, the largest that they can be by the Jacobians of its blocks. The axis
    takes in as much of these lines as leaves two thirds of it to the gradients."""
    measured = {INITIAL: JACOBIANS_INITIAL, TRAINED: JACOBIANS_TRAINED}
    low, high = axes[INITIAL].get_ylim()
    highest = high
    for panel, of_gains in measured.items():
        for level, look in told.items():
            arm = table[table[colour] == level].dropna(subset="value")
            line = bound(arm[arm["panel"] == panel], arm[arm["panel"] == of_gains])
            axes[panel].plot(line.index, line, color=look.colour, linewidth=1, linestyle=(0, (4, 2)))
            highest = max(highest, line.max()) if len(line) else highest
    axes[INITIAL].set_ylim(low, min(highest, high * (high / low) ** 0.5))


def number_decades(ax: Axes) -> None:
    """Numbers on a logarithmic axis: on a short one 1, 2 and 5 of each decade, written out."""
    low, high = ax.get_ylim()
    if high < 50 * low:
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())


def panels_of(mechanism: Mechanism, width: float) -> dict[str, Axes]:
    """The axes of each panel in a new figure of a width in inches. Rows stand below each
    other; beside each other where they have no more than four panels together. Those of a row share their vertical
    axis."""
    count = len(mechanism.panels)
    columns = count if count <= 4 else max(len(row.panels) for row in mechanism.rows)
    rows = -(-count // columns)
    size = (width, (1.3 if rows > 1 else 1.5) * rows)
    grid = plt.subplots(rows, columns, figsize=size, squeeze=False)[1]
    axes = dict(zip(mechanism.panels, grid.flat, strict=True))
    for row in mechanism.rows:
        first, *others = (axes[panel] for panel in row.panels)
        for ax in others:
            ax.sharey(first)
            ax.tick_params(which="both", labelleft=False)
    return axes


def scale_epochs(ax: Axes, epochs: pd.Series) -> None:
    """An axis on which doubled epochs stand at equal distances, with each epoch that was looked at; those close before
    the last without their number."""
    ax.set_xscale("symlog", base=2, linthresh=1)
    seen, last = sorted(epochs.unique()), epochs.max()
    ax.set_xticks(seen, [f"{x:g}" if x == last or 1.5 * x < last else "" for x in seen])
    ax.minorticks_off()


def draw_runs(ax: Axes, lines: pd.DataFrame, row: Row, look: Look, level: str) -> None:
    """A thin line a run through its values at their positions, and their middle, thick, with a mark here and there."""
    for _, line in lines.groupby("seed"):
        ax.plot(line["position"], line["value"], color=look.colour, linewidth=0.5, alpha=0.4)
    middle = row.curve(lines)
    style = {
        "color": look.colour,
        "marker": look.marker,
        "markersize": 3,
        "markevery": max(1, len(middle) // 8),
    }
    ax.plot(middle.index, middle, linewidth=1.4, label=level, **style)


def draw_fifths(planned: PlannedStudy, name: str, table: pd.DataFrame) -> None:
    """As `draw_lines`, the means of `fifths`."""
    draw_lines(planned, name, fifths(table, [*planned.factors, "seed", "panel"]))


def fifths(table: pd.DataFrame, run: list[str]) -> pd.DataFrame:
    """The mean of the value in each fifth of a run's points in the order of their positions, from 1; `run` are the
    columns that tell runs apart."""
    number = table.groupby(run)["position"].transform(lambda x: np.ceil(5 * x.rank(method="first") / len(x)))
    return table.assign(position=number).groupby([*run, "position"], as_index=False)["value"].mean()


def draw_contours(planned: PlannedStudy, name: str, table: pd.DataFrame) -> None:
    """The value over a plane, a panel an arm, with the same contours in all and a bar that tells their heights."""
    (row,) = MECHANISMS[name].rows
    (label,) = row.panels.values()
    colour = planned.study.diagnostics[name].colour
    measured = table.dropna(subset="value")
    planes = {
        level.label: plane.pivot(index="across", columns="position", values="value")
        for level in planned.factors[colour].levels
        if len(plane := measured[measured[colour] == level.label])
    }
    values = measured["value"][np.isfinite(measured["value"]) & (measured["value"] > 0)]
    heights = contours(values.min(), values.max())
    columns = min(3, len(planes))
    rows = -(-len(planes) // columns)
    size = (WIDTH, 2.2 * rows) if fills_page(planned, name, table) else (HALF, 1.8)
    grid = plt.subplots(rows, columns, figsize=size, squeeze=False, sharex=True, sharey=True)[1]
    for ax, (level, plane) in zip(grid.flat, planes.items(), strict=False):
        place = (plane.columns, plane.index, np.ma.masked_invalid(plane.to_numpy()))
        filled = ax.contourf(*place, heights, norm=LogNorm(), cmap="viridis", alpha=0.6, extend="both")
        ax.contour(*place, heights, colors="black", linewidths=0.5)
        ax.plot(0, 0, "+", color="black", markersize=8)
        ax.grid(False)
        ax.set(
            title=f"{words(colour)} {level}",
            xlabel=label,
            aspect="equal",
            xticks=(-1, 0, 1),
            yticks=(-1, 0, 1),
        )
    for ax in grid.flat[len(planes) :]:
        ax.set_visible(False)
    for ax in grid[:, 0]:
        ax.set_ylabel("along the other")
    bar = plt.colorbar(filled, ax=grid, label=row.value)
    bar.ax.yaxis.set_major_locator(LogLocator(numticks=99))
    bar.ax.yaxis.set_major_formatter(LogFormatterSciNotation())
    bar.ax.yaxis.set_minor_formatter(NullFormatter())


def contours(low: float, high: float) -> np.ndarray:
    """Heights 1, 2 and 5 in each decade between two values, with those next to them; only 1 over many decades."""
    subs = (1, 2, 5) if high < 1e4 * low else (1,)
    return LogLocator(subs=subs, numticks=99).tick_values(low, high)


DRAWINGS = {"loss-contour": draw_contours, "dropout-uncertainty": draw_fifths}
