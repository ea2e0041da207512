"""Data, networks, recipes and environments in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ablations import layout
from ablations.config import Level, label, listing, words
from ablations.data import in_words, read_header
from ablations.phrases import PHRASES, described, field_of, phrase
from ablations.plan import TUNED, PlannedStudy
from ablations.schema import Strict

# Fields that the report tells even at their defaults.
NAMED = {
    "family", "block", "widths", "shortcut", "norm", "order", "depth",
    "optimiser", "momentum", "weight_decay", "schedule", "milestones", "gamma", "warmup", "crop_padding", "flip",
    "precision",
}  # fmt: skip
STEPS = {"milestones", "gamma"}


def methods(reported: Sequence[PlannedStudy], tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """Data, networks and recipes of the studies in words: what most of them share, `common`, once, and of each study,
    `studies`, what is its own. Empty `common` of a single study. What a study varies is left to its levels."""
    settings = {planned.name: settings_of(planned, tables[planned.name]) for planned in reported}
    common: dict[str, str] = {}
    if len(reported) > 1:
        counts = Counter(pair for told in settings.values() for pair in told.items())
        common = {field: told for (field, told), count in counts.items() if 2 * count > len(reported)}
    return {
        "common": in_a_sentence(common),
        "studies": [
            {
                "title": planned.study.title,
                "text": study_in_words(
                    planned, {k: told for k, told in settings[planned.name].items() if told != common.get(k)}
                ),
            }
            for planned in reported
        ],
    }


def settings_of(planned: PlannedStudy, runs: pd.DataFrame) -> dict[str, str]:
    """What the arms of a study share, or have but where a level sets it, by field, in words."""
    base = next(
        (arm for key, arm in planned.arms.items() if "model.family" not in set_by(planned, key)), None
    )
    base = base or next(iter(planned.arms.values()))
    sizes = [
        f"{count:,} {split}"
        for split in ("training", "validation", "test")
        for count in runs[f"{split.removesuffix('ing')}_images"].head(1)
    ]
    header = read_header(layout.data(base.data_key))
    treated = f" (as prepared: {in_words(header.treated)})" if header and header.treated else ""
    told = {"data": f"{base.dataset.title}{', ' + listing(sizes) + ' images' if sizes else ''}{treated}"}
    searched = set(planned.search.space) if planned.name.endswith(TUNED) else set()
    for key, arm in planned.arms.items():
        if arm.model.family == base.model.family:
            fields = {**named_fields(arm.model, "model"), **named_fields(arm.recipe, "recipe")}
            left = fields.keys() - set_by(planned, key) - searched
            told |= {path: phrase(path, fields[path]) for path in left if path not in told}
    return {path: words for path, words in told.items() if words}


def set_by(planned: PlannedStudy, key: tuple[str, ...]) -> set[str]:
    """The fields, by path, that the levels of an arm set."""
    levels = planned.levels(key)
    return {
        path
        for name, factor in planned.factors.items()
        for level in factor.levels
        if level.label == levels[name]
        for path in level.settings
    }


def named_fields(definition: Strict, part: str) -> dict[str, Any]:
    """The fields of a network or recipe, by path, that the report tells. Those of a schedule in steps only where it is
    one; `deterministic` apart."""
    defaults = type(definition).model_fields
    hidden = {"deterministic"} | (set() if getattr(definition, "schedule", "") == "step" else STEPS)
    return {
        f"{part}.{name}": value
        for name, value in definition.model_dump().items()
        if name not in hidden and (name in NAMED or value != defaults[name].default)
    }


def in_a_sentence(settings: Mapping[str, str]) -> str:
    """Settings in words: the data, the network, how it is trained."""
    order = list(PHRASES)
    parts = [
        ", ".join(
            settings[path]
            for path in sorted(settings, key=lambda path: order.index(field_of(path)))
            if path.partition(".")[0] == part
        )
        for part in ("data", "model", "recipe")
    ]
    told = "; ".join(filter(None, parts))
    return f"{told[0].upper()}{told[1:]}." if told else ""


def study_in_words(planned: PlannedStudy, settings: Mapping[str, str]) -> str:
    """What a study has of its own, in sentences: settings, arms and seeds, levels."""
    seeds = f"{planned.seeds[0]} to {planned.seeds[-1]}" if len(planned.seeds) > 1 else f"{planned.seeds[0]}"
    arms = f"{len(planned.arms)} arm{'' if len(planned.arms) == 1 else 's'}, seed{'' if len(planned.seeds) == 1 else 's'} {seeds}."
    told = [in_a_sentence(settings), arms, *levels_in_words(planned), not_deterministic(planned)]
    return " ".join(filter(None, told))


def levels_in_words(planned: PlannedStudy) -> list[str]:
    """What the levels of each factor set whose names do not say it, in a sentence a factor."""
    told = []
    for name, factor in planned.factors.items():
        if all(says_it(level) for level in factor.levels):
            continue
        levels = {level.label: described(level.settings) for level in factor.levels}
        listed = "; ".join(f"*{name}*: {told}" for name, told in levels.items() if told)
        told.append(f"{words(name).capitalize()}: {listed}.")
    return told


def says_it(level: Level) -> bool:
    """Whether a level's name says what it sets: nothing, or one field to the value that it is called by."""
    return [label(value) for value in level.settings.values() if not isinstance(value, tuple | list)] == (
        [level.label] if level.settings else []
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
        "Trained with `deterministic: false`, so that on a GPU the same seed need not give the same numbers again: "
        f"{'all arms' if len(arms) == len(planned.arms) else named}."
    )


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
            "Each arm has the settings that a search found for it, with the same budget for all. A longer search may "
            "find better ones, for some arms more than for others."
            if any(planned.name.endswith(TUNED) for planned in reported)
            else "The arms of a study share one recipe, not tuned for each: it may suit some of them better than "
            "others, and part of an effect may be that."
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
