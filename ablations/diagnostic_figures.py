"""Figures of the diagnostics: what a mechanism measured, from its table."""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import MaxNLocator

from ablations.mechanisms import MECHANISMS
from ablations.plan import PlannedStudy
from ablations.plotting import colours, legend, panels


def draw_diagnostic(planned: PlannedStudy, name: str, table: pd.DataFrame) -> None:
    """A diagnostic: its value against the position, a thin line a run, the mean thick, a panel as the mechanism
    has them."""
    mechanism, colour = MECHANISMS[name], planned.study.diagnostics[name].colour
    shades = colours(planned.factors[colour])
    axes = panels(len(mechanism.panels), share=True, height=2.4 + 0.2 * len(shades))
    for ax, (panel, label) in zip(axes, mechanism.panels.items(), strict=True):
        for level, shade in shades.items():
            lines = table[(table["panel"] == panel) & (table[colour] == level)]
            for _, line in lines.groupby("seed"):
                ax.plot(line["position"], line["value"], color=shade, linewidth=0.7, alpha=0.5)
            mean = lines.groupby("position")["value"].mean()
            ax.plot(mean.index, mean, ".-", color=shade, linewidth=1.8, markersize=5, label=level)
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
        ax.set(title=panel, xlabel=label)
        if mechanism.logarithmic:
            ax.set_yscale("log", nonpositive="mask")
    axes[0].set_ylabel(mechanism.value)
    if not mechanism.logarithmic:
        axes[0].set_ylim(min(0, axes[0].get_ylim()[0]), None)
    legend(axes, colour)
