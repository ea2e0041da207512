"""Data, networks, recipes and environments in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ablations import layout
from ablations.config import listing, words
from ablations.data import in_words, read_header
from ablations.plan import TUNED, PlannedStudy
from ablations.schema import Strict


def methods(planned: PlannedStudy, runs: pd.DataFrame) -> str:
    """Data, network and recipe of a study in words; fields that the study varies are left to its table."""
    arm = next(iter(planned.arms.values()))
    levels = [level for factor in planned.factors.values() for level in factor.levels]
    varied = {path for level in levels for path in level.settings}
    if planned.name.endswith(TUNED):
        varied |= set(planned.search.space)
    hidden = {"recipe.deterministic"}  # told below, of every arm
    if arm.recipe.schedule != "step":
        hidden |= {"recipe.milestones", "recipe.gamma"}
    model = told(arm.model, "model", varied)
    recipe = told(arm.recipe, "recipe", varied | hidden)
    sizes = [
        f"{count:,} {split}"
        for split in ("training", "validation", "test")
        for count in runs[f"{split.removesuffix('ing')}_images"].head(1)
    ]
    header = read_header(layout.data(arm.data_key))
    treated = f" (as prepared: {in_words(header.treated)})" if header and header.treated else ""
    return (
        f"Data: {arm.dataset.title}{'; ' + listing(sizes) + ' images' if sizes else ''}{treated}. Network: {described(model) or 'that of the arm'}. Recipe: "
        f"{described(recipe)}. Seeds {planned.seeds[0]} to {planned.seeds[-1]} for each of {len(planned.arms)} arms."
        f"{levels_in_words(planned)}{not_deterministic(planned)}"
    )


def levels_in_words(planned: PlannedStudy) -> str:
    """What the levels set whose names do not say it, in a sentence; empty where all do."""
    told = []
    for name, factor in planned.factors.items():
        if factor.field is None:
            levels = [
                f"*{level.label}*: {described({path.partition('.')[2]: value for path, value in level.settings.items()}) or 'as above'}"
                for level in factor.levels
            ]
            told.append(f" Levels of {words(name)}: {'; '.join(levels)}.")
    return "".join(told)


def not_deterministic(planned: PlannedStudy) -> str:
    """A sentence that names the arms trained with `deterministic: false`; empty where there are none."""
    arms = [key for key, arm in planned.arms.items() if not arm.recipe.deterministic]
    if not arms:
        return ""
    named = "; ".join(
        ", ".join(f"{words(factor)} {level}" for factor, level in planned.levels(key).items()) for key in arms
    )
    return (
        " Trained with `deterministic: false`, so that on a GPU the same seed need not give the same numbers again: "
        f"{'all arms' if len(arms) == len(planned.arms) else named}."
    )


# Fields of networks and recipes that the report names even at their defaults.
NAMED = {
    "family", "block", "widths", "norm", "order", "depth",
    "optimiser", "momentum", "weight_decay", "schedule", "milestones", "gamma", "warmup", "crop_padding", "flip",
    "precision",
}  # fmt: skip


def told(definition: Strict, part: str, without: set[str]) -> dict[str, Any]:
    """The fields of a network or recipe that the report names."""
    defaults = type(definition).model_fields
    return {
        name: value
        for name, value in definition.model_dump().items()
        if f"{part}.{name}" not in without and (name in NAMED or value != defaults[name].default)
    }


def described(fields: Mapping[str, Any]) -> str:
    """Fields of a definition in words."""
    return ", ".join(
        f"{name.replace('_', ' ')} {plain(value)}" for name, value in fields.items() if value is not None
    )


def plain(value: Any) -> str:
    """A value in words."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple | list):
        return "/".join(map(plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def threats(reported: Sequence[PlannedStudy], runs: pd.DataFrame, adjusted_over: str) -> list[dict[str, str]]:
    """What could make the report's conclusions wrong, or wrong elsewhere."""
    arms = [arm for planned in reported for arm in planned.arms.values()]
    datasets = listing([*dict.fromkeys(arm.dataset.title for arm in arms)])
    seeds = listing([*dict.fromkeys(str(len(planned.seeds)) for planned in reported)])
    diverged = runs.drop_duplicates("run")["status"].eq("diverged")
    ways = runs[["device", "torch", "commit"]].drop_duplicates()
    told = {
        "Other data and sizes": (
            f"All of this is on {datasets}, with networks and recipes of this size. Published figures come from other "
            "data, larger networks and longer training: they stand beside the effects for orientation, and a claim "
            "refuted here is not refuted there."
        ),
        "Settings": (
            "The arms of a study share one recipe, not tuned for each: it may suit some of them better than others, "
            "and part of an effect may be that."
        ),
        "Seeds": (
            f"With {seeds} seeds an arm, the spread between seeds is itself known only roughly. Intervals and tests "
            "take means as normally distributed; where some runs of an arm train and others do not, they are not."
        ),
        "One test set": (
            "All arms are tested on the same images. What their sampling adds is told beside each table and is not "
            "part of the intervals of effects."
        ),
        "Many tests": (
            f"p values are adjusted over {adjusted_over}. Those that are not in this report, or not trained yet, count "
            "as not rejected, so that no verdict on a part of them is bolder than in the report of all."
        ),
        "Diverged runs": (
            f"{diverged.sum()} of {len(diverged)} runs diverged and count with the error of guessing."
        )
        if diverged.any()
        else "",
        "Times": (
            "Seconds and images a second are those of the machine that trained, with whatever else ran there; arms "
            "are compared in speed only where they were executed in the same way."
        ),
        "Mixed environments": (
            f"The runs come from {len(ways)} combinations of device, version of torch and version of the code, which "
            "can change numbers as much as a seed does."
        )
        if len(ways) > 1
        else "",
    }
    return [{"title": title, "text": text} for title, text in told.items() if text]


def environments(runs: pd.DataFrame) -> list[str]:
    """A sentence for each environment that runs were trained in."""
    lines = []
    columns = ["device", "threads", "torch", "python", "commit", "dirty"]
    for values, group in runs.groupby(columns, dropna=False, sort=False):
        device, threads, torch, python, commit, dirty = values
        state = (
            f"commit {commit[:12]}{' with local changes' if dirty else ''}"
            if isinstance(commit, str)
            else "no commit known"
        )
        networks = group["run"].nunique()
        lines.append(
            f"{networks} runs on {device}, {threads} thread{'s' if threads > 1 else ''}, torch {torch}, Python {python}, {state}."
        )
    return lines
