"""The trials of a search, and what each is given.

Every arm has an Optuna study with as many places as its budget has trials. A trial holds one place; a place is spent
once there is a trial in it that was finished or pruned, or that cannot be trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.pruners import NopPruner
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from ablations import layout
from ablations.config import Scalar, Search, listed, listing
from ablations.data import read_header
from ablations.errors import UserError
from ablations.plan import Arm, PlannedStudy, content_id, retuned
from ablations.search.pruning import EpochsThenSeeds
from ablations.space import Choice, Dimension

# What a trial has written on it. AGAIN: that its place is tried once more, though there is a REASON against it.
PLACE, WORKER, REASON, AGAIN, RUNS = "place", "worker", "reason", "again", "runs"
SURPLUS = "surplus"  # the reason of a trial that has no place
TAKEN = (TrialState.COMPLETE, TrialState.PRUNED)


# ------------------------------------------------------------------------------------------ studies


def forget_marks(suite: str, planned: PlannedStudy) -> None:
    """Remove the workflow's marks that the search of a study has begun and its workers have ended: the trials that they
    stand for are not there, and the same command does them again."""
    for mark in ("begun", "ended-*"):
        for path in layout.best(suite, planned.name).parent.glob(f"*/{mark}"):
            path.unlink(missing_ok=True)


def optuna_name(suite: str, planned: PlannedStudy, key: tuple[str, ...]) -> str:
    """The name of an arm's Optuna study. What decides its trials is in it: a changed space or other images are another
    study, a larger budget is not."""
    search, arm = planned.search, planned.arms[key]
    decides = search.model_dump(mode="json", exclude={"trials"})
    levels = " ".join(f"{factor}={level}" for factor, level in planned.levels(key).items())
    header = read_header(layout.data(arm.data_key))
    decides = {"arm": arm.id, "search": decides, "data": header.fingerprint if header else None}
    return f"{suite} {planned.name} {levels} {content_id(decides)[:8]}"


def begin(suite: str, planned: PlannedStudy, storage: BaseStorage) -> None:
    """Make the Optuna study of every arm, with a place for each trial of its budget. UserError where the space has
    values that an arm cannot have."""
    for key, arm in planned.arms.items():
        check(arm, planned.search)
        study = optuna.create_study(
            study_name=optuna_name(suite, planned, key),
            storage=storage,
            directions=["minimize"] * len(planned.search.objectives),
            load_if_exists=True,
        )
        for place, trials in places(study, planned.search).items():
            if not trials:
                fixed = own_settings(arm, planned.search) if place == 0 else {}
                study.enqueue_trial(fixed, user_attrs={PLACE: place})


def check(arm: Arm, search: Search) -> None:
    """UserError where the ends of a dimension do not fit the arm; what is asked only under a condition is told when a
    trial meets it."""
    for path, dimension in search.space.items():
        if not dimension.when:
            for value in dimension.ends:
                retuned(arm, {path: value})


def load(suite: str, planned: PlannedStudy, key: tuple[str, ...], storage: BaseStorage) -> optuna.Study:
    """The Optuna study of an arm. It prunes across epochs and seeds, with one objective. UserError where it is not
    there."""
    one = len(planned.search.objectives) == 1
    try:
        return optuna.load_study(
            study_name=optuna_name(suite, planned, key),
            storage=storage,
            pruner=EpochsThenSeeds(most(planned, key, "recipe.epochs"), most(planned, key, "recipe.warmup"))
            if one
            else NopPruner(),
        )
    except KeyError:
        forget_marks(suite, planned)
        raise UserError(
            f"the search of {planned.name} {' '.join(key)} has not begun, or is another since the study was changed; "
            f"begin with: ablations search {planned.name} --suite {suite} --part begin"
        ) from None


def most(planned: PlannedStudy, key: tuple[str, ...], path: str) -> Any:
    """The greatest value that a field may have in the trials of an arm: one of its dimension, or the arm's own, which
    is kept where a condition does not hold."""
    dimension = planned.search.space.get(path)
    return max([own(planned.arms[key], path), *(dimension.ends if dimension else ())])


def places(study: optuna.Study, search: Search) -> dict[int, list[FrozenTrial]]:
    """The trials in each place of the budget, surplus ones left out."""
    found: dict[int, list[FrozenTrial]] = {place: [] for place in range(search.trials)}
    for trial in study.get_trials(deepcopy=False):
        if trial.user_attrs.get(PLACE) in found and trial.user_attrs.get(REASON) != SURPLUS:
            found[trial.user_attrs[PLACE]].append(trial)
    return found


def is_spent(trials: Iterable[FrozenTrial]) -> bool:
    """Whether a place needs no further trial: one was finished or pruned, or could not be trained at all."""
    return any(
        trial.state in TAKEN or (REASON in trial.user_attrs and AGAIN not in trial.user_attrs)
        for trial in trials
    )


def settings_of(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial has been given: its settings so far, and those that it was enqueued with."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def arm_of_trial(
    suite: str, planned: PlannedStudy, key: tuple[str, ...], number: int, storage: BaseStorage
) -> Arm:
    """An arm with the settings that one of its trials was given. UserError where no worker has begun it."""
    trials = load(suite, planned, key, storage).get_trials(deepcopy=False)
    begun = {trial.number: trial for trial in trials if trial.params}
    if number not in begun:
        raise UserError(
            f"no trial {number} of {planned.name} {' '.join(key)} has begun; known: "
            f"{listing(list(map(str, begun))) or 'none'}"
        )
    return retuned(planned.arms[key], begun[number].params)


# ------------------------------------------------------------------------------------------ settings


def asked(arm: Arm, dimension: Dimension, settings: Mapping[str, Scalar]) -> bool:
    """Whether the condition of a dimension holds, by the settings so far and the arm's own."""
    return all(settings.get(path, own(arm, path)) in listed(value) for path, value in dimension.when.items())


def own(arm: Arm, path: str) -> Any:
    """An arm's own value of a field; None where its network has no such field."""
    part, _, field = path.partition(".")
    return getattr(getattr(arm, part), field, None)


def own_settings(arm: Arm, search: Search) -> dict[str, Scalar]:
    """The arm's own values, where the space has them: the first trial takes them."""
    settings = {}
    for path, dimension in search.space.items():
        value = own(arm, path)
        if asked(arm, dimension, settings) and dimension.has(value):
            settings[path] = value
    return settings


def suggest(trial: optuna.Trial, arm: Arm, search: Search) -> dict[str, Scalar]:
    """The settings of a trial."""
    settings: dict[str, Scalar] = {}
    for path, dimension in search.space.items():
        if not asked(arm, dimension, settings):
            continue
        if isinstance(dimension, Choice):
            settings[path] = trial.suggest_categorical(path, dimension.choices)
        elif dimension.whole:
            step = dimension.step or 1
            settings[path] = trial.suggest_int(
                path, dimension.low, dimension.high, log=dimension.log, step=step
            )
        else:
            ends = (float(dimension.low), float(dimension.high))
            settings[path] = trial.suggest_float(path, *ends, log=dimension.log, step=dimension.step)
    return settings
