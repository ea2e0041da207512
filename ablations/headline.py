"""The figure of all verdicts of a report: which claims held, with their effects and intervals."""

from __future__ import annotations

import textwrap
from math import nan
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ablations.collect import write_table
from ablations.config import Claim
from ablations.findings import in_percent
from ablations.plan import Plan
from ablations.plotting import GREY, STYLE, WIDTH

# Colour and marker of a verdict: told apart without colour as well.
VERDICTS = {
    "supported": {"color": "#009E73", "marker": "o"},
    "refuted": {"color": "#D55E00", "marker": "X"},
    "inconclusive": {"color": GREY, "marker": "D", "markerfacecolor": "white"},
}
LETTERS = 54  # of a statement, in a line
ROW, MORE = 0.126, 0.1  # inches that the first and each further line of text take
APART = 0.05  # inches between the two effects of a crossover


def draw_headline(plan: Plan, verdicts: pd.DataFrame, path: Path) -> None:
    """Draw the verdicts of a report, with the numbers as CSV beside it. Without claims there is nothing to draw."""
    table = in_claimed_direction(plan, verdicts)
    if table.empty:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        draw_verdicts(plan, table)
        plt.savefig(path, metadata={"Date": None})
        plt.close()
    write_table(table, path.with_suffix(".csv"))


def in_claimed_direction(plan: Plan, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Effect, interval and margin of each claim in percentage points, what is claimed upwards; for metrics in other
    units in percent of the other side's mean. A crossover has two effects, one at each of its levels, both of which it
    takes, each with its interval."""
    rows = []
    for row in verdicts.to_dict("records"):
        claim = plan.study(row["study"]).study.claims[row["claim"]]
        unit, size = ("pp", 1.0) if in_percent(claim.metric) else ("%", 100 / np.abs(row["mean_than"] or nan))
        if claim.kind == "crossover":
            effect, low, high = (row[f"{number}_first"] for number in ("effect", "low", "high"))
            second, second_high, second_low = (
                -row[f"{number}_second"] for number in ("effect", "low", "high")
            )
        else:
            effect, second, second_low, second_high = sign(claim) * row["effect"], nan, nan, nan
            low, high = sorted(sign(claim) * row[bound] for bound in ("low", "high"))
        sizes = {"effect": effect, "low": low, "high": high, "margin": claim.margin} | {
            "second": second, "second_low": second_low, "second_high": second_high,
        }  # fmt: skip
        rows.append(
            {key: row[key] for key in ("study", "claim", "verdict")}
            | {key: size * number for key, number in sizes.items()}
            | {"unit": unit}
        )
    return pd.DataFrame(rows)


def sign(claim: Claim) -> int:
    """-1 where what is claimed is a difference downwards."""
    return -1 if claim.kind in ("less", "not_greater") or claim.direction == "falls" else 1


def draw_verdicts(plan: Plan, table: pd.DataFrame) -> None:
    """A row a claim, of several studies below their titles: its effect with the interval, on the margin as a grey
    bar."""
    titled = ROW if table["study"].nunique() > 1 else 0
    claims = [plan.study(row.study).study.claims[row.claim] for row in table.itertuples()]
    table = table.assign(told=[in_lines(claim.short or claim.statement) for claim in claims])
    height = sum(map(room, table["told"])) + titled * table["study"].nunique()
    _, ax = plt.subplots(figsize=(WIDTH, height + 0.6))
    ax.set_xscale("symlog", linthresh=1)
    place, names = 0.0, {}
    for study, of_study in table.groupby("study", sort=False):
        if titled:
            draw_title(ax, place, plan.study(study).study.title)
            place += titled
        for row in of_study.to_dict("records"):
            middle = place + room(row["told"]) / 2
            names[middle] = row["told"]
            draw_claim(ax, middle, row)
            place += room(row["told"])
    ax.axvline(0, color="black", linewidth=0.8, zorder=1.2)
    ax.set_yticks(list(names), list(names.values()), fontsize=7)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.spines["left"].set_visible(False)
    ends = 1.4 * table[["low", "high", "effect", "second", "second_low", "second_high"]].fillna(0)
    left, right = min(-2.0, ends.to_numpy().min()), max(2.0, ends.to_numpy().max())
    ax.set(xlim=(left, right), ylim=(place, 0))
    decades = [10**power for power in range(4)]
    ax.set_xticks([x for x in (*(-x for x in decades), 0, *decades) if left <= x <= right])
    ax.xaxis.set_major_formatter(lambda x, place: f"{x:g}".replace("-", "−"))
    ax.set_xlabel("against the claim  ←  percentage points  →  as claimed")
    for verdict, look in VERDICTS.items():
        ax.plot([], [], linestyle="", markersize=5, label=verdict, **look)
    ax.figure.legend(loc="outside upper center", ncols=3)


def draw_title(ax: Axes, place: float, title: str) -> None:
    """The title of a study, in a row of its own that no line crosses."""
    above_lines = {"zorder": 1.8, "clip_on": False}
    ax.axhspan(place, place + ROW, color="white", linewidth=0, **above_lines)
    style = {"va": "center", "fontsize": 7, "fontweight": "bold"}
    style["parse_math"] = False  # matplotlib knows less TeX than the report
    name = ax.annotate(title, (0.01, place + ROW / 2), xycoords=("figure fraction", "data"), **style)
    name.set_in_layout(False)  # it may reach into the axes


def draw_claim(ax: Axes, place: float, row: dict) -> None:
    """The effect of a claim, its interval, and the differences that are too small to matter; of a crossover both
    effects, the second below the first."""
    ax.barh(place, 2 * row["margin"], left=-row["margin"], height=0.085, color="#d0d7de", zorder=1)
    told = row["verdict"]
    if told in VERDICTS:
        look = VERDICTS[told]
        shown = [("effect", "low", "high"), ("second", "second_low", "second_high")]
        shown = [[row[key] for key in keys] for keys in shown if row[keys[0]] == row[keys[0]]]
        effects = [effect for effect, *_ in shown]
        for number, (effect, low, high) in enumerate(shown):
            at = place + APART * (number - (len(shown) - 1) / 2)
            ax.plot([low, high], [at, at], color=look["color"], linewidth=1.2)
            ax.plot(effect, at, markersize=4, **look)
        unit = " %" if row["unit"] == "%" else ""
        told = ", ".join(f"{effect:+z.1f}{unit}" for effect in effects).replace("-", "−")
    at_right = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center"}
    ax.annotate(told, (1, place), (4, 0), fontsize=7, color=GREY, **at_right)


def in_lines(statement: str) -> str:
    """A statement in lines that leave the axes their room."""
    return "\n".join(textwrap.wrap(statement.rstrip("."), LETTERS))


def room(told: str) -> float:
    """The height of a claim's row, in inches."""
    return ROW + MORE * told.count("\n")
