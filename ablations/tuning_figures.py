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
from ablations.config import METRICS, words
from ablations.plan import PlannedStudy
from ablations.plotting import PALETTE, STYLE, WIDTH, legend, looks, panels
from ablations.space import Choice, Dimension
from ablations.tuning import field_in_words

ERROR = "validation_error"
TITLES = {
    "search-history": "The lowest validation error found so far",
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
    first, *others = planned.factors
    front = {
        "search-front": f"{TITLES['search-front']} of an image: dots are finished trials, lines join those of an arm that no "
        "other of its trials matches in both and beats in one (Pareto front)."
    }
    pooled = f"; a panel a level of {words(first)}" if others else ""
    return {
        "search-history": f"{TITLES['search-history']}, against the trials done{pooled}. Steps go down where a trial "
        "was finished with a lower mean over its seeds than all before it.",
        "search-slices": f"{TITLES['search-slices']}: dots are finished trials, means over {planned.search.seeds} seeds; "
        "crosses are trials that were stopped early, at the error they had then. An arm whose error stays low over a "
        "wide range is easy to tune.",
        "search-importance": f"{TITLES['search-importance']} of an arm: the part of the variance of the validation error "
        "over the space that it explains, by functional ANOVA of the finished trials [@hutter2014].",
    } | (front if "macs" in planned.search.objectives else {})


def history(planned: PlannedStudy, trials: pd.DataFrame) -> pd.DataFrame:
    """The best validation error against the number of trials, a panel a level of the first factor, a colour a level of
    the last."""
    first, last = panel_and_colour(planned)
    done = trials[trials["state"].isin(["finished", "pruned"])].sort_values("trial")
    values = done[ERROR].where(done["state"] == "finished")
    levels = list(planned.factors)
    behind = done[[*levels, "trial"]].assign(
        number=done.groupby(levels, observed=True).cumcount() + 1,
        best=values.groupby([done[level] for level in levels], observed=True).cummin(),
    )
    behind["best"] = behind.groupby(levels, observed=True)["best"].ffill()
    shown, told = panel_levels(planned, first), looks(planned, last)
    axes = panels(len(shown), wide=True, share=True)
    for ax, panel in zip(axes, shown, strict=True):
        of_panel = behind if panel is None else behind[behind[first] == panel]
        for level, look in told.items():
            for _, line in of_panel[of_panel[last] == level].groupby(levels, observed=True):
                ax.step(
                    line["number"],
                    line["best"],
                    where="post",
                    color=look.colour,
                    linestyle=look.line,
                    label=level,
                )
        ax.set(title=panel and f"{words(first)}: {panel}", xlabel="trials done", ylim=(0, None))
    axes[0].set_ylabel(METRICS[ERROR])
    legend(axes, last)
    return behind


def slices(planned: PlannedStudy, trials: pd.DataFrame) -> pd.DataFrame:
    """The validation error against each setting, a row of panels a level of the first factor."""
    first, last = panel_and_colour(planned)
    space, told, rows = planned.search.space, looks(planned, last), panel_levels(planned, first)
    _, grid = plt.subplots(
        len(rows),
        len(space),
        figsize=(WIDTH, 0.6 + 1.7 * len(rows)),
        squeeze=False,
        sharey=True,
        sharex="col",
    )
    for axes, panel in zip(grid, rows, strict=True):
        of_panel = trials if panel is None else trials[trials[first] == panel]
        for ax, (path, dimension) in zip(axes, space.items(), strict=True):
            places = choice_places(dimension) if isinstance(dimension, Choice) else None
            for level, look in told.items():
                of_level = of_panel[of_panel[last] == level]
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
        if panel is not None:
            axes[0].set_title(f"{words(first)}: {panel}", loc="left")
        axes[0].set_ylabel("validation error (%)")
    for ax, path in zip(grid[-1], space, strict=True):
        ax.set_xlabel(field_in_words(path))
    legend([grid[0][0]], last)
    return trials[[*planned.factors, "trial", "state", ERROR, *space]]


def front(planned: PlannedStudy, trials: pd.DataFrame) -> pd.DataFrame:
    """The validation error against the multiply-adds of the trials, with each arm's Pareto front."""
    first, last = panel_and_colour(planned)
    shown, told = panel_levels(planned, first), looks(planned, last)
    finished = trials[trials["state"] == "finished"].sort_values(["macs", ERROR])
    axes = panels(len(shown), wide=True, share=True)
    for ax, panel in zip(axes, shown, strict=True):
        of_panel = finished if panel is None else finished[finished[first] == panel]
        for (*_, level), of_arm in of_panel.groupby(list(planned.factors), observed=True):
            best = of_arm[of_arm[ERROR] < of_arm[ERROR].cummin().shift(fill_value=np.inf)]
            look = told[level]
            ax.plot(of_arm["macs"], of_arm[ERROR], look.marker, color=look.colour, markersize=3.5, alpha=0.5)
            ax.step(
                best["macs"], best[ERROR], where="post", color=look.colour, linestyle=look.line, label=level
            )
        ax.set(title=panel and f"{words(first)}: {panel}", xlabel=METRICS["macs"], ylim=(0, None))
        if not finished.empty:
            ax.set_xscale("log")
    axes[0].set_ylabel(METRICS[ERROR])
    legend(axes, last)
    return finished[[*planned.factors, "trial", "macs", ERROR]]


def panel_and_colour(planned: PlannedStudy) -> tuple[str, str]:
    """The factor of the panels and that of the colours: the first and the last, which may be the same."""
    first, *_ = planned.factors
    *_, last = planned.factors
    return first, last


def panel_levels(planned: PlannedStudy, first: str) -> list[str | None]:
    """The levels that have a panel; one panel for all where there is only one factor."""
    return [level.label for level in planned.factors[first].levels] if len(planned.factors) > 1 else [None]


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
    "search-slices": slices,
    "search-importance": importances,
    "search-front": front,
}
