"""What the figures share: style, colours, panels, points with their intervals, names of lines, legends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.text import Annotation

from ablations.config import METRICS, label, words
from ablations.contrasts import mean_interval
from ablations.figure_data import is_number, labels, within
from ablations.plan import PlannedStudy
from ablations.statistics import resolution

# Distinct for colour-blind readers: Okabe & Ito's six, then a brown and two of Tol's, which are as far from these as
# they are from each other, by CIELAB distances under simulated protanopia, deuteranopia and tritanopia.
PALETTE = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#7B3F00", "#332288", "#AA3377"),
)
# With each colour a marker and a line of its own, a second way of telling levels apart.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
LINES = ("-", "--", "-.", ":")
ABSENT = "#333333"
GREY = "#57606a"  # for what is no level: the front, names of several arms
# The ends of the scale of a factor that several studies colour by; where a study goes beyond, its own.
ENDS = {"depth": (8, 164)}
WIDTH, HALF = 6.9, 3.35  # inches: of a page, and of half of it or a column of a paper
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7.5,
    "legend.title_fontsize": 7.5,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "ablations",  # equal data, equal file
}


# ------------------------------------------------------------------------------------------ colours


@dataclass(frozen=True)
class Look:
    """How a level is drawn, in every figure."""

    colour: str
    marker: str = "o"
    line: str = "-"


ABSENCES = ("none", label(False))


def nth_look(place: int, again: int) -> Look:
    """The look at a place of the palette, which begins again after its end; used `again`, with another marker."""
    place %= len(PALETTE)
    mark = place + again
    return Look(PALETTE[place], MARKERS[mark % len(MARKERS)], LINES[mark % len(LINES)])


def looks(planned: PlannedStudy, factor: str) -> dict[str, Look]:
    """The look of each level, in every figure of a study. `none` and `off` are all but black, in every study. Numbers
    go from light to dark. The other words take the colours in the order of the study's own levels, so that the usual
    one, which studies name first, is blue, and a suite with fewer levels mostly keeps their colours: a level whose
    colour another one shown has takes the next that is free. Only where there are more levels than colours do these
    come again, with another marker and line."""
    shown = labels(planned, factor)
    known = [level.label for level in planned.study.factors[factor].levels]
    present = [x for x in dict.fromkeys(known + shown) if x not in ABSENCES]
    if all(map(is_number, present)):
        told = dict(zip(present, scale(factor, [float(x) for x in present]), strict=True))
    else:
        told = {}
        for number, level in enumerate(x for x in shown if x not in ABSENCES):
            first, again = present.index(level), number // len(PALETTE)
            wanted = (nth_look(first + step, again) for step in range(len(PALETTE)))
            told[level] = next(look for look in wanted if look not in told.values())
    return {level: told.get(level, Look(ABSENT)) for level in shown}


def scale(factor: str, values: list[float]) -> list[Look]:
    """From light to dark in the order of the numbers; for a factor of ENDS by their logarithm, so that a number looks
    the same in every study."""
    if factor in ENDS:
        ends = np.log([min(*values, ENDS[factor][0]), max(*values, ENDS[factor][1])])
        places = (np.log(values) - ends[0]) / (ends[1] - ends[0])
    else:
        places = np.argsort(np.argsort(values)) / max(1, len(values) - 1)
    shades = matplotlib.colormaps["viridis"](0.88 - 0.83 * places)
    return [Look(matplotlib.colors.to_hex(shade)) for shade in shades]


# ------------------------------------------------------------------------------------------ panels and points


def panels(count: int, wide: bool, share: bool = False, height: float = 1.55) -> list[Axes]:
    """Axes in one figure, up to three side by side, in rows of a height in inches; the figure as wide as a page, or as
    half of it."""
    columns = 2 if count == 4 else min(count, 3)
    rows = -(-count // columns)
    size = (WIDTH if wide else HALF, height if rows == 1 else 1.6 * rows)
    grid = plt.subplots(rows, columns, figsize=size, squeeze=False, sharey=share)[1]
    for ax in grid.flat[count:]:
        ax.remove()
    return list(grid.flat[:count])


def points(
    ax: Axes,
    places: np.ndarray,
    groups: list[pd.DataFrame],
    metric: str,
    look: Look,
    name: str,
    listed: bool = False,
    joined: bool = True,
    along: str | None = None,
) -> None:
    """Every run of a group a dot, the means joined by a line where `joined`, their 95 % intervals as bars (none for
    a single run), as far as the metric can go. `listed`: the places are on the vertical axis, and the means, of words,
    are not joined. `along`: the column with a place of their own for the dots."""
    dots = {"color": look.colour, "markersize": 3, "alpha": 0.4, "markeredgewidth": 0}
    means = []
    for place, group in zip(places, groups, strict=True):
        measured = group.dropna(subset=metric)
        values = measured[metric].to_numpy(float)
        across = np.full(len(values), place) if along is None else measured[along]
        ax.plot(*((values, across) if listed else (across, values)), look.marker, **dots)
        if len(values):
            means.append((place, *within(metric, mean_interval(values, resolution(group, metric)))))
    place, centre, low, high = np.array(means).T if means else np.empty((4, 0))
    half = np.nan_to_num([centre - low, high - centre])
    bars = {"color": look.colour, "capsize": 2, "elinewidth": 0.9, "label": name, "markersize": 4}
    if listed:
        ax.errorbar(centre, place, xerr=half, fmt=look.marker, **bars)
    else:
        mark = {"marker": look.marker, "linestyle": look.line if joined else ""}
        ax.errorbar(place, centre, half, linewidth=1.2, **mark, **bars)


def least_range(metric: str) -> float:
    """An axis shows at least this: a percent, so that errors that are all but zero look like it."""
    return 1.0 if METRICS[metric].endswith("(%)") else 0.0


# ------------------------------------------------------------------------------------------ names


LINE = 10.0  # points that a line of text takes
MOST = 1.5 * LINE  # points that a name may stand off its line
LETTERS = 20  # of a name beside a panel


def name_lines(
    axes: list[Axes], factor: str, ends: list[Mapping[str, float]], told: Mapping[str, Look]
) -> None:
    """Each line's name, with its factor, in its colour at the right of the panel in which names have to leave their
    lines least; `ends` are where lines end, by level, of each panel. A legend where they would have to leave them by
    far, or would leave small panels no room."""
    if len(axes) > 1 and axes[0].figure.get_figwidth() < WIDTH:
        return legend(axes, factor)
    axes[0].figure.draw_without_rendering()  # the layout: heights of panels
    to_points = 72 / axes[0].figure.dpi
    best = None
    for ax, values in zip(axes, ends, strict=True):
        if set(values) != set(told) or max(len(f"{words(factor)} {level}") for level in values) > LETTERS:
            continue
        box = ax.get_window_extent()
        heights = ax.transData.transform([(0, y) for y in values.values()])[:, 1] - box.y0
        spread = spread_out(heights * to_points, box.height * to_points)
        away = np.abs(spread - heights * to_points).max()
        if away <= MOST and (best is None or away <= best[0]):
            best = (away, ax, dict(zip(values, spread, strict=True)))
    if best is None:
        return legend(axes, factor)
    _, ax, places = best
    for level, height in places.items():
        where = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center"}
        name = f"{words(factor)} {level}"
        ax.annotate(name, (1, 0), (5, height), color=told[level].colour, fontsize=7.5, **where)


def spread_out(heights: np.ndarray, room: float) -> np.ndarray:
    """Heights moved as little as possible (least squares) to stand a line of text apart, from 0 to `room`."""
    from scipy.optimize import isotonic_regression  # a quarter of a second, which only figures take

    order = np.argsort(heights, kind="stable")
    steps = LINE * np.arange(len(heights))
    apart = isotonic_regression(heights[order] - steps).x + steps
    placed = np.empty_like(apart)
    placed[order] = np.minimum(np.maximum(apart, steps), room - steps[::-1])
    return placed


# Where a name may stand, in points from its own: above, below and beside it, the nearest first.
OFFSETS = [
    (side * far, up * far)
    for far in (4, 6, 8, 11, 14)
    for side, up in ((-1, 1), (1, 1), (-1, -1), (1, -1), (0, 1.5), (0, -1.5), (1.5, 0), (-1.5, 0))
]


def name_above(ax: Axes, names: dict[str, float]) -> bool:
    """Names above the axes at their places along it, and whether there is room for them; nothing where there is not."""
    ax.figure.draw_without_rendering()
    where = {
        "xycoords": ax.get_xaxis_transform(),
        "textcoords": "offset points",
        "ha": "center",
        "va": "bottom",
    }
    placed = [ax.annotate(name, (x, 1), (0, 1), fontsize=7, color=GREY, **where) for name, x in names.items()]
    boxes = [name.get_window_extent() for name in placed]
    apart = all(a.x1 + 3 < b.x0 for a, b in pairwise(sorted(boxes, key=lambda box: box.x0)))
    for name in placed if not apart else ():
        name.remove()
    return apart


def name_points(
    ax: Axes, names: list[tuple[float, float, str, str]], fontsize: float = 7
) -> list[Annotation]:
    """Names (x, y, text, colour) beside their points, within the axes, clear of each other and of all that is drawn;
    one that finds no such place is left out."""
    ax.figure.draw_without_rendering()
    within = ax.get_window_extent().padded(-2)
    drawn, taken, placed = ink(ax), [], []
    for x, y, text, colour in names:
        style = {"textcoords": "offset points", "fontsize": fontsize, "color": colour}
        name = ax.annotate(text, (x, y), (0, 0), ha="left", va="bottom", **style)
        size = name.get_window_extent()  # once: it takes longer than all else here
        for dx, dy in OFFSETS:
            right, up = np.sign((dx, dy))
            corner = np.multiply((dx, dy), ax.figure.dpi / 72) + ((right - 1) / 2, (up - 1) / 2) * size.size
            box = size.translated(*corner)
            inside = box.x0 > within.x0 and box.x1 < within.x1 and box.y0 > within.y0 and box.y1 < within.y1
            beside_others = not any(box.padded(3).overlaps(other) for other in taken)
            if inside and beside_others and not box.padded(3).count_contains(drawn):
                name.set(ha=("center", "left", "right")[int(right)], va=("center", "bottom", "top")[int(up)])
                name.xyann = (dx, dy)
                taken.append(box)
                placed.append(name)
                break
        else:
            name.remove()
    return placed


def ink(ax: Axes) -> np.ndarray:
    """What is drawn in the axes, in pixels: points along lines and bars, a pixel or two apart, and around marks."""
    dots, paths = [], []
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    around = np.column_stack([np.cos(turn), np.sin(turn)])
    for line in ax.lines:
        there = line.get_xydata()
        there = ax.transData.transform(there[np.isfinite(there).all(axis=1)])
        if line.get_drawstyle() == "steps-post":
            there = np.column_stack([there[:, 0].repeat(2)[1:], there[:, 1].repeat(2)[:-1]])
        if line.get_marker() not in ("None", "", None):
            side = line.get_markersize() + line.get_markeredgewidth()
            radius = side / 2**0.5 * ax.figure.dpi / 72  # to the corners of a square
            dots += [there, *(there + radius * step for step in around)]
        if line.get_linestyle() != "None":
            paths.append(there)
    for bars in ax.collections:
        paths += [ax.transData.transform(path.vertices) for path in bars.get_paths()]
    for path in paths:
        for start, end in pairwise(path):
            steps = 1 + int(np.abs(end - start).max())
            dots.append(np.linspace(start, end, steps + 1))
    return np.vstack([np.empty((0, 2)), *dots])


FRONT = "Pareto front"  # as legends call it


def legend(axes: list[Axes], factor: str, beside: str = "") -> None:
    """One legend for all panels in a room of its own above them, in as many columns as fit; none where nothing is
    named. Its title is the factor, with what numbers `beside` the points are."""
    handles, names = axes[0].get_legend_handles_labels()
    if any(names):
        figure = axes[0].figure
        named = sorted(zip(names, handles, strict=True), key=lambda pair: pair[0] == FRONT)  # levels first
        letters = 17 * figure.get_figwidth()  # that fit side by side
        columns = max(1, min(len(names), int(letters / (max(map(len, names)) + 6))))
        rows = -(-len(names) // columns)
        columns = -(-len(names) // rows)
        figure.set_figheight(figure.get_figheight() + 0.15 * (rows + 1))
        place = {"loc": "outside upper center", "ncols": columns, "title": words(factor) + beside}
        figure.legend([handle for _, handle in named], [name for name, _ in named], **place)
