"""What the figures share: style, colours, panels, points with their intervals, legends."""

from __future__ import annotations

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ablations.config import METRICS, Factor, words
from ablations.statistics import mean_interval, resolution

# Okabe & Ito's colours, distinct for colour-blind readers, for levels that are words; levels that are numbers
# take a scale from light to dark.
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
NEUTRAL = "#0072B2"
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "ablations",  # equal data, equal file
}


def panels(count: int, share: bool = False, height: float = 2.8) -> list[Axes]:
    """Axes side by side in one figure, of a height in inches."""
    size = (3.6 * count + (0.8 if count == 1 else 0), height)
    return list(plt.subplots(1, count, figsize=size, squeeze=False, sharey=share)[1][0])


def points(
    ax: Axes,
    places: np.ndarray,
    groups: list[pd.DataFrame],
    metric: str,
    colour: str,
    name: str,
    listed: bool = False,
    joined: bool = True,
) -> None:
    """Every run of a group a dot, the means joined by a line where `joined`, their 95 % intervals as bars (none for
    a single run). `listed`: the places are on the vertical axis, and the means, of words, are not joined."""
    dots = {"color": colour, "markersize": 3.5, "alpha": 0.4, "markeredgewidth": 0}
    means = []
    for place, group in zip(places, groups, strict=True):
        values = group[metric].to_numpy(float)
        across = np.full(len(values), place)
        ax.plot(*((values, across) if listed else (across, values)), "o", **dots)
        if len(values):
            means.append((place, *mean_interval(values, resolution(group, metric))))
    place, centre, low, high = np.array(means).T if means else np.empty((4, 0))
    half = np.nan_to_num([centre - low, high - centre])
    bars = {"color": colour, "capsize": 2.5, "elinewidth": 0.9, "label": name}
    if listed:
        ax.errorbar(centre, place, xerr=half, fmt="|", markersize=8, markeredgewidth=1.4, **bars)
    else:
        ax.errorbar(place, centre, half, fmt="-" if joined else "_", linewidth=1.4, **bars)


def colours(factor: Factor) -> dict[str, str]:
    """A colour a level, the same in every figure of a study."""
    labels = [level.label for level in factor.levels]
    numeric = all(
        isinstance(v, int | float) and not isinstance(v, bool)
        for level in factor.levels
        for v in level.settings.values()
    )
    if numeric or len(labels) > len(PALETTE):
        scale = matplotlib.colormaps["viridis"](np.linspace(0.85, 0.1, len(labels)))
        return dict(zip(labels, map(matplotlib.colors.to_hex, scale), strict=True))
    return dict(zip(labels, PALETTE, strict=False))


def least_range(metric: str) -> float:
    """An axis shows at least this: a percent, so that errors that are all but zero look like it."""
    return 1.0 if METRICS[metric].endswith("(%)") else 0.0


def is_number(label: str) -> bool:
    """Whether a level is written as a number."""
    try:
        float(label)
    except ValueError:
        return False
    return True


def legend(axes: list[Axes], factor: str) -> None:
    """One legend for all panels, above them, in as many columns as fit; none where nothing is named."""
    handles, levels = axes[0].get_legend_handles_labels()
    if any(levels):
        letters = 12 * axes[0].figure.get_figwidth()  # that fit side by side
        columns = max(1, int(letters / (max(map(len, levels)) + 6)))
        place = {"loc": "outside upper center", "ncols": columns, "title": words(factor)}
        axes[0].figure.legend(handles, levels, **place)
