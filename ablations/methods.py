"""Data, networks, recipes and environments in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ablations.config import words
from ablations.plan import PlannedStudy
from ablations.schema import Strict


def methods(planned: PlannedStudy, runs: pd.DataFrame) -> str:
    """Data, network and recipe of a study in words; fields that the study varies are left to its table."""
    arm, sizes = next(iter(planned.arms.values())), runs.iloc[0]
    levels = [level for factor in planned.factors.values() for level in factor.levels]
    varied = {path for level in levels for path in level.settings}
    hidden = {"recipe.deterministic"}  # told below, of every arm
    if arm.recipe.schedule != "step":
        hidden |= {"recipe.milestones", "recipe.gamma"}
    model = told(arm.model, "model", varied)
    recipe = told(arm.recipe, "recipe", varied | hidden)
    return (
        f"Data: {arm.dataset.title}; {sizes['train_images']:,} training, {sizes['validation_images']:,} validation "
        f"and {sizes['test_images']:,} test images. Network: {described(model) or 'that of the arm'}. Recipe: "
        f"{described(recipe)}. Seeds {planned.seeds[0]} to {planned.seeds[-1]} for each of {len(planned.arms)} arms."
        f"{not_deterministic(planned)}"
    )


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
