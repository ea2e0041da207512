"""The trials of a search: enqueued once, handed out to workers, and trained as runs like any other.

Every arm has an Optuna study with as many places as its budget has trials. A trial holds one place; a place is spent
once there is a trial in it that was finished or pruned, or that cannot be trained. What a worker leaves behind when it
is killed is failed over: its place is enqueued again with the same settings, and its run goes on from the checkpoint.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, WilcoxonPruner
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from ablations import layout
from ablations.config import Scalar, Search, listed
from ablations.errors import UserError
from ablations.plan import Arm, PlannedStudy, content_id, retuned
from ablations.search import storage as storages
from ablations.search.storage import Lock, heartbeat, is_gone
from ablations.space import Choice, Dimension

PLACE, WORKER, REASON, RUNS = "place", "worker", "reason", "runs"  # what a trial has written on it
SURPLUS = "surplus"  # the reason of a trial that has no place
TAKEN = (TrialState.COMPLETE, TrialState.PRUNED)
PAUSE = 2.0  # seconds until a worker without work looks again whether others have ended


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
            pruner=EpochsThenSeeds(most_epochs(planned, key), planned.arms[key].recipe.warmup)
            if one
            else NopPruner(),
        )
    except KeyError:
        raise UserError(
            f"the search of {planned.name} {' '.join(key)} has not begun, or is another since the study was changed; "
            f"begin with: ablations search {planned.name} --suite {suite} --part begin"
        ) from None


def most_epochs(planned: PlannedStudy, key: tuple[str, ...]) -> int:
    """The epochs of an arm's longest trial."""
    dimension = planned.search.space.get("recipe.epochs")
    return max(dimension.ends) if dimension else planned.arms[key].recipe.epochs


def places(study: optuna.Study, search: Search) -> dict[int, list[FrozenTrial]]:
    """The trials in each place of the budget, surplus ones left out."""
    found: dict[int, list[FrozenTrial]] = {place: [] for place in range(search.trials)}
    for trial in study.get_trials(deepcopy=False):
        if trial.user_attrs.get(PLACE) in found and trial.user_attrs.get(REASON) != SURPLUS:
            found[trial.user_attrs[PLACE]].append(trial)
    return found


def is_spent(trials: Iterable[FrozenTrial]) -> bool:
    """Whether a place needs no further trial: one was finished or pruned, or could not be trained at all."""
    return any(trial.state in TAKEN or trial.user_attrs.get(REASON) for trial in trials)


def fail_over(
    suite: str, planned: PlannedStudy, study: optuna.Study, storage: BaseStorage, unsigned: dict[Any, float]
) -> None:
    """Enqueue the places again whose workers are gone, with the settings that they had."""
    for trial in left_behind(suite, study, storage, unsigned):
        with suppress(UpdateFinishedTrialError):  # by another worker
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    for place, trials in places(study, planned.search).items():
        under_way = any(trial.state in (TrialState.WAITING, TrialState.RUNNING) for trial in trials)
        if trials and not under_way and not is_spent(trials):
            study.enqueue_trial(settings_of(trials[-1]), user_attrs={PLACE: place})


def left_behind(
    suite: str, study: optuna.Study, storage: BaseStorage, unsigned: dict[Any, float]
) -> Iterator[FrozenTrial]:
    """The running trials whose workers are gone. A worker signs a trial right after it has taken it. No other of this
    machine does so at this time, so that in a journal one without a signature is of a worker that is gone. In a
    database it may be of another machine: `unsigned` keeps when trials were first seen so."""
    on_this_machine = isinstance(storage, JournalStorage)
    if not on_this_machine:
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            fail_stale_trials(study)  # by their heartbeats
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get(WORKER)
        if on_this_machine:
            gone = worker is None or is_gone(suite, worker)
        else:
            seen = unsigned.setdefault((study.study_name, trial.number), time.monotonic())
            gone = worker is None and time.monotonic() - seen > storages.GRACE
        if gone:
            yield trial


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
    """Stops a trial that does badly: in its first run by Hyperband over the epochs after the warm-up (Li et al. 2018),
    up to step `epochs`; in those of further seeds, one step each after that, by a Wilcoxon test against the best
    trial."""

    def __init__(self, epochs: int, warmup: float):
        self.epochs = epochs
        first = min(epochs, int(warmup) + 1)  # rates that grow for longer look worse before
        self.over_epochs = HyperbandPruner(min_resource=first, max_resource=epochs, reduction_factor=3)
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
    """Do trials of every arm until all places are spent, those of workers that are gone too: what others are doing is
    waited for."""
    unsigned, told = {}, False
    while True:
        for key in planned.arms:
            study = load(suite, planned, key, storage)
            objective = Objective(planned, key, study, training)
            while trial := claim(suite, planned, study, storage, worker, unsigned):
                with heartbeat(storage, trial):
                    do(study, trial, objective)
                tell(planned, key, study)
        under_way = sum(unfinished(planned, load(suite, planned, key, storage)) for key in planned.arms)
        if not under_way:
            return
        if not told:
            print(f"waiting for {under_way} trials of other workers", flush=True)
            told = True
        time.sleep(PAUSE)


def claim(
    suite: str,
    planned: PlannedStudy,
    study: optuna.Study,
    storage: BaseStorage,
    worker: str,
    unsigned: dict[Any, float],
) -> optuna.Trial | None:
    """Take a trial of an arm for a worker, and sign it; None where none is waiting. On a machine one worker at a time
    does so, see `left_behind`."""
    with Lock(layout.journal(suite).parent / "claims"):
        fail_over(suite, planned, study, storage, unsigned)
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        budget = planned.search.trials
        if not any(trial.user_attrs.get(PLACE, budget) < budget for trial in waiting):
            return None
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # that no one records heartbeats
            trial = study.ask()
        if isinstance(storage, RDBStorage):
            storage.record_heartbeat(trial._trial_id)
        trial.set_user_attr(WORKER, worker)
        return trial


def do(study: optuna.Study, trial: optuna.Trial, objective: Objective) -> None:
    """Do a trial and write down what became of it, whatever that is. Nothing where it has been given to another worker
    meanwhile, since this one seemed gone."""
    state, values = TrialState.FAIL, None
    try:
        values = objective(trial)
        state = TrialState.COMPLETE
    except optuna.TrialPruned:
        state = TrialState.PRUNED
    except (Surplus, Unfit, UpdateFinishedTrialError):
        pass
    finally:
        with suppress(UpdateFinishedTrialError):
            study.tell(trial, values, state, skip_if_finished=True)


def unfinished(planned: PlannedStudy, study: optuna.Study) -> int:
    """How many trials of an arm are under way, or left behind by workers that may be gone."""
    open_places = sum(not is_spent(trials) for trials in places(study, planned.search).values() if trials)
    return max(open_places, len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))))


def tell(planned: PlannedStudy, key: tuple[str, ...], study: optuna.Study) -> None:
    """How far the search of an arm is, and the best that it has found."""
    found = places(study, planned.search).values()
    finished = [trial for trials in found for trial in trials if trial.state == TrialState.COMPLETE]
    best = f", best validation error {min(trial.values[0] for trial in finished):.2f} %" if finished else ""
    pruned = sum(trial.state == TrialState.PRUNED for trials in found for trial in trials)
    print(
        f"{' '.join(key)}: {sum(map(is_spent, found))} of {planned.search.trials} trials done, {pruned} of them pruned"
        f"{best}",
        flush=True,
    )


def sampler(search: Search, place: int) -> TPESampler:
    """The sampler of the trial in a place: one worker alone repeats its trials, several do not draw the same."""
    seed = int(content_id({"seed": search.seed, "place": place})[:8], 16)
    return TPESampler(seed=seed, n_startup_trials=max(2, search.trials // 4))


@dataclass
class Objective:
    """What a trial is worth: the mean validation error of its runs in percent, and the multiply-adds of an image where
    they are an objective."""

    planned: PlannedStudy
    key: tuple[str, ...]
    study: optuna.Study
    training: Training

    def __call__(self, trial: optuna.Trial) -> tuple[float, ...]:
        """Train the runs of a trial. Raises Surplus, Unfit or optuna.TrialPruned."""
        search, arm = self.planned.search, self.planned.arms[self.key]
        if not self.holds_its_place(trial):
            trial.set_user_attr(REASON, SURPLUS)
            raise Surplus
        self.study.sampler = sampler(search, trial.user_attrs[PLACE])
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
        in_place = places(self.study, self.planned.search).get(trial.user_attrs.get(PLACE), ())
        others = [each for each in in_place if each.number != trial.number]
        before = any(each.state == TrialState.RUNNING and each.number < trial.number for each in others)
        return bool(in_place) and not before and not is_spent(others)

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
