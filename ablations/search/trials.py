"""The trials of a search: enqueued once, handed out to workers, and trained as runs like any other.

Every arm has an Optuna study with as many places as its budget has trials. A trial holds one place; a place is taken
once there is a trial in it that was finished or pruned. What a worker leaves behind when it is killed is failed over:
its place is enqueued again with the same settings, and its run goes on from the checkpoint.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, WilcoxonPruner
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, JournalStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from ablations.config import Scalar, Search, listed
from ablations.errors import UserError
from ablations.plan import Arm, PlannedStudy, content_id, retuned
from ablations.search.storage import is_gone
from ablations.space import Choice, Dimension

PLACE, WORKER, REASON, RUNS = "place", "worker", "reason", "runs"  # what a trial has written on it
TAKEN = (TrialState.COMPLETE, TrialState.PRUNED)


class Surplus(Exception):
    """A trial beyond the budget, or in a place that is taken: nothing is trained for it."""


class Unfit(Exception):
    """The settings of a trial cannot be trained; the place is spent on them."""


# ------------------------------------------------------------------------------------------ studies


def optuna_name(suite: str, planned: PlannedStudy, key: tuple[str, ...]) -> str:
    """The name of an arm's Optuna study. What decides its trials is in it: a changed space is another study, a larger
    budget is not."""
    search, arm = planned.search, planned.arms[key]
    decides = search.model_dump(mode="json", exclude={"trials"})
    levels = " ".join(f"{factor}={level}" for factor, level in planned.levels(key).items())
    return f"{suite} {planned.name} {levels} {content_id({'arm': arm.id, 'search': decides})[:8]}"


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
        there = places(study)
        for place in range(planned.search.trials):
            if place not in there:
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
    """The Optuna study of an arm, which is there. It prunes across epochs and seeds, with one objective."""
    search = planned.search
    one = len(search.objectives) == 1
    return optuna.load_study(
        study_name=optuna_name(suite, planned, key),
        storage=storage,
        pruner=EpochsThenSeeds(most_epochs(planned, key)) if one else NopPruner(),
    )


def most_epochs(planned: PlannedStudy, key: tuple[str, ...]) -> int:
    """The epochs of an arm's longest trial."""
    dimension = planned.search.space.get("recipe.epochs")
    return max(dimension.ends) if dimension else planned.arms[key].recipe.epochs


def places(study: optuna.Study) -> dict[int, list[FrozenTrial]]:
    """The trials in each place of the budget, surplus ones left out."""
    found: dict[int, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        if PLACE in trial.user_attrs and trial.user_attrs.get(REASON) != "surplus":
            found.setdefault(trial.user_attrs[PLACE], []).append(trial)
    return found


def is_spent(trials: Iterable[FrozenTrial]) -> bool:
    """Whether a place needs no further trial: one was finished or pruned, or could not be trained at all."""
    return any(trial.state in TAKEN or trial.user_attrs.get(REASON) for trial in trials)


def fail_over(suite: str, study: optuna.Study, storage: BaseStorage) -> None:
    """Enqueue the places again whose workers are gone, with the settings that they had."""
    if isinstance(storage, JournalStorage):
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = trial.user_attrs.get(WORKER)
            if worker is not None and is_gone(suite, worker):
                study.tell(trial.number, state=TrialState.FAIL)
    else:
        fail_stale_trials(study)  # enqueues them itself
    for place, trials in places(study).items():
        waiting = any(trial.state in (TrialState.WAITING, TrialState.RUNNING) for trial in trials)
        if not waiting and not is_spent(trials):
            study.enqueue_trial(settings_of(trials[-1]), user_attrs={PLACE: place})


def settings_of(trial: FrozenTrial) -> dict[str, Any]:
    """What a trial has been given: its settings so far, and those that it was enqueued with."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


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


# ------------------------------------------------------------------------------------------ pruning


class EpochsThenSeeds(BasePruner):
    """Stops a trial that does badly: in its first run by Hyperband over the epochs (Li et al. 2018), steps 1 to
    `epochs`; in those of further seeds, one step each after them, by a Wilcoxon test against the best trial."""

    def __init__(self, epochs: int):
        self.epochs = epochs
        self.over_epochs = HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            self.over_seeds = WilcoxonPruner()

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial at its last step."""
        if trial.last_step <= self.epochs:
            return self.over_epochs.prune(study, trial)
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not finished:
            return False
        best = min(finished, key=lambda each: each.value)
        seen = SimpleNamespace(best_trial=self.seeds_of(best), direction=study.direction)
        return self.over_seeds.prune(seen, self.seeds_of(trial))

    def seeds_of(self, trial: FrozenTrial) -> SimpleNamespace:
        """What the Wilcoxon test looks at of a trial: the errors of its seeds."""
        values = {step: value for step, value in trial.intermediate_values.items() if step > self.epochs}
        return SimpleNamespace(number=trial.number, intermediate_values=values)


# ------------------------------------------------------------------------------------------ work


class Training(Protocol):
    """How a worker trains; see `ablations.search.training.Runs`."""

    def error_of(
        self, arm: Arm, seed: int, after_epoch: Callable[[int, float], None]
    ) -> tuple[str, float]: ...

    def macs_of(self, arm: Arm) -> int: ...


def work(
    suite: str,
    planned: PlannedStudy,
    storage: BaseStorage,
    worker: str,
    training: Training,
) -> None:
    """Take trials of every arm until no place is left, those of workers that are gone too, and train them."""
    for key in planned.arms:
        study = load(suite, planned, key, storage)
        while True:
            fail_over(suite, study, storage)
            waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            if not waiting:
                break
            study.sampler = sampler(planned.search, study)
            objective = Objective(planned, key, study, worker, training)
            study.optimize(objective, n_trials=1, catch=(Surplus, Unfit))
            tell(planned, key, study)


def tell(planned: PlannedStudy, key: tuple[str, ...], study: optuna.Study) -> None:
    """How far the search of an arm is, and the best that it has found."""
    found = places(study).values()
    finished = [trial for trials in found for trial in trials if trial.state == TrialState.COMPLETE]
    best = f", best validation error {min(trial.values[0] for trial in finished):.2f} %" if finished else ""
    pruned = sum(trial.state == TrialState.PRUNED for trials in found for trial in trials)
    print(
        f"{' '.join(key)}: {sum(map(is_spent, found))} of {planned.search.trials} trials done, {pruned} of them pruned"
        f"{best}",
        flush=True,
    )


def sampler(search: Search, study: optuna.Study) -> TPESampler:
    """The sampler of the next trial, from the search's seed and the trials so far: one worker alone repeats them."""
    taken = len(study.get_trials(deepcopy=False, states=TAKEN))
    seed = int(content_id({"seed": search.seed, "trials": taken})[:8], 16)
    return TPESampler(seed=seed, n_startup_trials=max(2, search.trials // 4))


@dataclass
class Objective:
    """What a trial is worth: the mean validation error of its runs in percent, and the multiply-adds of an image where
    they are an objective."""

    planned: PlannedStudy
    key: tuple[str, ...]
    study: optuna.Study
    worker: str
    training: Training

    def __call__(self, trial: optuna.Trial) -> tuple[float, ...]:
        """Train the runs of a trial. Raises Surplus, Unfit or optuna.TrialPruned."""
        if not self.holds_its_place(trial):
            trial.set_user_attr(REASON, "surplus")
            raise Surplus
        trial.set_user_attr(WORKER, self.worker)
        search, arm = self.planned.search, self.planned.arms[self.key]
        settings = suggest(trial, arm, search)
        try:
            tuned = retuned(arm, settings)
            errors = self.errors(trial, tuned)
            costs = [self.training.macs_of(tuned)] if "macs" in search.objectives else []
        except UserError as error:
            trial.set_user_attr(REASON, str(error))
            raise Unfit from None
        return (sum(errors) / len(errors), *costs)

    def holds_its_place(self, trial: optuna.Trial) -> bool:
        """Whether a trial has a place that no other has taken or was given before it."""
        place = trial.user_attrs.get(PLACE)
        others = [each for each in places(self.study).get(place, ()) if each.number != trial.number]
        before = any(each.state == TrialState.RUNNING and each.number < trial.number for each in others)
        return place is not None and not before and not is_spent(others)

    def errors(self, trial: optuna.Trial, tuned: Arm) -> list[float]:
        """The validation error of each run of a trial."""
        prunes = len(self.planned.search.objectives) == 1
        epochs, runs, errors = most_epochs(self.planned, self.key), [], []

        def report(step: int, error: float) -> None:
            if prunes:
                trial.report(error, step)
                if trial.should_prune():
                    raise optuna.TrialPruned

        for seed in range(self.planned.search.seeds):
            after_epoch = report if seed == 0 else lambda epoch, error: None
            run, error = self.training.error_of(tuned, seed, after_epoch)
            runs.append(run)
            errors.append(error)
            trial.set_user_attr(RUNS, runs)
            report(epochs + 1 + seed, error)
        return errors
