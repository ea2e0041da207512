"""Figures of a search, from its table of trials: how the error fell, how it depends on each setting, which matter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ablations.collect import write_table
from ablations.config import METRICS, listing, words
from ablations.figure_data import EQUAL_COST, pareto
from ablations.plan import PlannedStudy
from ablations.plotting import PALETTE, STYLE, WIDTH, legend, looks, panels
from ablations.space import Choice, Dimension
from ablations.tuning import BINS, ERROR, NEAR, RATE, TRAINS, field_in_words, sensitivity

TITLES = {
    "search-history": "The lowest validation error found so far",
    "search-sensitivity": "The lowest validation error against the learning rate",
    "search-slices": "Validation error against each setting",
    "search-importance": "How much each setting decides",
    "search-front": "Validation error against multiply-adds",
}


def draw_search(planned: PlannedStudy, trials: pd.DataFrame, folder: Path) -> None:
    """Draw the figures of a search into a folder, each with its data as CSV beside it."""
    for name in captions(planned):
        draw = KINDS[name]
        with plt.rc_context(STYLE):
            behind = draw(planned, trials)
            plt.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close()
        write_table(behind, folder / f"{name}.csv")


def captions(planned: PlannedStudy) -> dict[str, str]:
    """What the figures show."""
    _, others = colour_and_others(planned)
    each = f"; a panel for each {listing([words(factor) for factor in others])}" if others else ""
    told = {
        "search-history": f"{TITLES['search-history']}, against the trials done{each}. Steps go down where a trial "
        "was finished with a lower mean over its seeds than all before it.",
        "search-sensitivity": f"{TITLES['search-sensitivity']}, whatever the other settings, in bins of 1/{BINS} of a "
        f"decade{each}. Filled marks: rates that work, within {NEAR:g} points of the arm's lowest error and below "
        f"{TRAINS:g} %. Crosses: bins whose trials were all stopped early, at the lowest error they had on the way, which "
        "they might have gone below. The wider the bottom of a curve, the less the rate has to be searched for.",
        "search-slices": f"{TITLES['search-slices']}: dots are finished trials, means over {planned.search.seeds} seeds; "
        "crosses are trials that were stopped early, at the error they had then.",
        "search-importance": f"{TITLES['search-importance']} of an arm: the part of the variance of the validation error "
        "over the space that it explains, by functional ANOVA of the finished trials [@hutter2014].",
        "search-front": f"{TITLES['search-front']} of an image{each}: dots are finished trials, lines join those of an "
        f"arm that no other of its trials matches in both and beats in one (Pareto front), costs within "
        f"{100 * EQUAL_COST:g} % being equal.",
    }
    lacking = {
        "search-sensitivity": RATE not in planned.search.space,
        "search-front": "macs" not in planned.search.objectives,
    }
    return {name: caption for name, caption in told.items() if not lacking.get(name)}


# ------------------------------------------------------------------------------------------ panels


def colour_and_others(planned: PlannedStudy) -> tuple[str, list[str]]:
    """The factor whose levels are told apart by colours, that with the most of them, and the others, whose levels have
    panels."""
    colour = max(reversed(planned.factors), key=lambda factor: len(planned.factors[factor].levels))
    return colour, [factor for factor in planned.factors if factor != colour]


def in_panels(planned: PlannedStudy, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each panel by its title: one for the arms that differ in the colour alone."""
    _, others = colour_and_others(planned)
    panels = {}
    for key in planned.arms:
        levels = {factor: level for factor, level in planned.levels(key).items() if factor in others}
        title = ", ".join(f"{words(factor)}: {level}" for factor, level in levels.items())
        panels[title] = table[(table[others].astype(str) == pd.Series(levels, dtype=str)).all(axis=1)]
    return panels


# ------------------------------------------------------------------------------------------ figures


def history(planned: PlannedStudy, trials: pd.DataFrame) -> pd.DataFrame:
    """The best validation error against the number of trials."""
    colour, _ = colour_and_others(planned)
    done = trials[trials["state"].isin(["finished", "pruned"])].sort_values("trial")
    values = done[ERROR].where(done["state"] == "finished")
    levels = list(planned.factors)
    behind = done[[*levels, "trial"]].assign(
        number=done.groupby(levels, observed=True).cumcount() + 1,
        best=values.groupby([done[level] for level in levels], observed=True).cummin(),
    )
    behind["best"] = behind.groupby(levels, observed=True)["best"].ffill()
    split = in_panels(planned, behind)
    axes = panels(len(split), wide=True, share=True)
    for ax, (title, of_panel) in zip(axes, split.items(), strict=True):
        for level, look in looks(planned, colour).items():
            line = of_panel[of_panel[colour] == level]
            style = {"color": look.colour, "linestyle": look.line, "label": level}
            ax.step(line["number"], line["best"], where="post", **style)
        ax.set(title=title, xlabel="trials done", ylim=(0, None))
    axes[0].set_ylabel(METRICS[ERROR])
    legend(axes, colour)
    return behind


def curves(planned: PlannedStudy, trials: pd.DataFrame) -> pd.DataFrame:
    """The lowest validation error of each arm against the learning rate, in bins."""
    colour, _ = colour_and_others(planned)
    behind = sensitivity(planned, trials)
    split = in_panels(planned, behind.assign(rate=np.sqrt(behind["low"] * behind["high"])))
    axes = panels(len(split), wide=True, share=True)
    for ax, (title, of_panel) in zip(axes, split.items(), strict=True):
        for level, look in looks(planned, colour).items():
            rows = of_panel[of_panel[colour] == level]
            tried = rows[rows["finished"] + rows["pruned"] > 0]  # a line ends where all trials were stopped
            works, stopped = tried[tried["works"]], tried[tried["finished"] == 0]
            style = {"color": look.colour, "markersize": 4}
            ax.plot(tried["rate"], tried["lowest"], look.line, color=look.colour, linewidth=1.2)
            ax.plot(tried["rate"], tried["lowest"], look.marker, markerfacecolor="white", **style)
            ax.plot(works["rate"], works["lowest"], look.marker, label=level, **style)
            ax.plot(stopped["rate"], stopped["stopped_at"], "x", alpha=0.5, **style)
        ax.set(title=title, xlabel=field_in_words(RATE), xscale="log", ylim=(0, None))
        ax.set_xlim(behind["low"].min(), behind["high"].max())
    axes[0].set_ylabel(METRICS[ERROR])
    legend(axes, colour)
    return behind


def slices(planned: PlannedStudy, trials: pd.DataFrame) -> pd.DataFrame:
    """The validation error against each setting, a panel a setting, in rows for the levels of the other factors than
    the colour."""
    colour, _ = colour_and_others(planned)
    space, told, split = planned.search.space, looks(planned, colour), in_panels(planned, trials)
    _, grid = plt.subplots(
        len(split),
        len(space),
        figsize=(WIDTH, 0.6 + 1.7 * len(split)),
        squeeze=False,
        sharey=True,
        sharex="col",
    )
    for axes, (title, of_panel) in zip(grid, split.items(), strict=True):
        for ax, (path, dimension) in zip(axes, space.items(), strict=True):
            places = choice_places(dimension) if isinstance(dimension, Choice) else None
            for level, look in told.items():
                of_level = of_panel[of_panel[colour] == level]
                for state, marker in (("finished", look.marker), ("pruned", "x")):
                    chosen = of_level[of_level["state"] == state].dropna(subset=[path, ERROR])
                    x = chosen[path].map(places) if places else chosen[path]
                    faint = 0.85 if state == "finished" else 0.35
                    label = {"label": level} if state == "finished" else {}
                    ax.plot(x, chosen[ERROR], marker, color=look.colour, markersize=3.5, alpha=faint, **label)
            if places:
                ax.set_xticks([*places.values()], map(str, dimension.choices))
            elif dimension.log:
                ax.set_xscale("log")
            ax.set_ylim(0, None)
        axes[0].set_title(title, loc="left")
        axes[0].set_ylabel("validation error (%)")
    for ax, path in zip(grid[-1], space, strict=True):
        ax.set_xlabel(field_in_words(path))
    legend([grid[0][0]], colour)
    return trials[[*planned.factors, "trial", "state", ERROR, *space]]


def front(planned: PlannedStudy, trials: pd.DataFrame) -> pd.DataFrame:
    """The validation error against the multiply-adds of the finished trials, and which are on their arm's front."""
    colour, _ = colour_and_others(planned)
    finished = trials[trials["state"] == "finished"].sort_values(["macs", ERROR])
    behind = finished[[*planned.factors, "trial", "macs", ERROR]].assign(front=False)
    for _, of_arm in behind.groupby(list(planned.factors), observed=True):
        behind.loc[of_arm.index, "front"] = pareto(of_arm["macs"].to_numpy(), of_arm[ERROR].to_numpy())
    split = in_panels(planned, behind)
    axes = panels(len(split), wide=True, share=True)
    for ax, (title, of_panel) in zip(axes, split.items(), strict=True):
        for level, look in looks(planned, colour).items():
            dots = of_panel[of_panel[colour] == level]
            best = dots[dots["front"]]
            ax.plot(dots["macs"], dots[ERROR], look.marker, color=look.colour, markersize=3.5, alpha=0.5)
            style = {"color": look.colour, "linestyle": look.line, "label": level}
            ax.step(best["macs"], best[ERROR], where="post", **style)
        ax.set(title=title, xlabel=METRICS["macs"], ylim=(0, None))
        if not finished.empty:
            ax.set_xscale("log")
    axes[0].set_ylabel(METRICS[ERROR])
    legend(axes, colour)
    return behind


def choice_places(dimension: Choice) -> Mapping[Any, int]:
    """Where the values of a choice stand on an axis."""
    return {choice: place for place, choice in enumerate(dimension.choices)}


def importances(planned: PlannedStudy, trials: pd.DataFrame) -> pd.DataFrame:
    """The importance of each setting, a bar an arm."""
    paths = list(planned.search.space)
    rows = [
        {**dict(zip(planned.factors, key, strict=True)), **importance(planned, of_arm)}
        for key in planned.arms
        for of_arm in [trials[(trials[list(planned.factors)].astype(str) == list(key)).all(axis=1)]]
    ]
    behind = pd.DataFrame(rows)
    names = [" ".join(key) for key in planned.arms]
    _, ax = plt.subplots(figsize=(WIDTH, 0.7 + 0.2 * len(names) + 0.2 * math.ceil(len(paths) / 3)))
    left = np.zeros(len(names))
    for path, colour in zip(paths, PALETTE * (1 + len(paths) // len(PALETTE)), strict=False):
        widths = behind[path].fillna(0).to_numpy(float)
        ax.barh(names, widths, left=left, color=colour, label=field_in_words(path), height=0.7)
        left += widths
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set(xlabel="importance", xlim=(0, 1))
    ax.figure.legend(loc="outside upper center", ncols=3)
    return behind


def importance(planned: PlannedStudy, trials: pd.DataFrame) -> dict[str, float]:
    """The importance of each setting in an arm's finished trials; NaN where they are too few, or all alike."""
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
        if isinstance(dimension, Choice):
            return CategoricalDistribution(dimension.choices)
        kind = IntDistribution if dimension.whole else FloatDistribution
        return kind(dimension.low, dimension.high, log=dimension.log)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    finished = trials[trials["state"] == "finished"]
    if len(finished) < 4 or finished[ERROR].nunique() < 2:
        return dict.fromkeys(planned.search.space, np.nan)
    study = optuna.create_study()
    for row in finished.to_dict("records"):
        settings = {path: row[path] for path in planned.search.space if row[path] == row[path]}
        distributions = {path: distribution(planned.search.space[path]) for path in settings}
        study.add_trial(optuna.create_trial(params=settings, distributions=distributions, value=row[ERROR]))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return dict.fromkeys(planned.search.space, np.nan) | found


KINDS = {
    "search-history": history,
    "search-sensitivity": curves,
    "search-slices": slices,
    "search-importance": importances,
    "search-front": front,
}
