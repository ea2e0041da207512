"""What a worker does: it takes one trial after the other and trains its runs, like any other runs.

What a worker leaves behind when it is killed is failed over: its place is enqueued again with the same settings, and
its run goes on from the checkpoint."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, JournalStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from ablations import layout
from ablations.config import Search
from ablations.errors import OutOfMemory, UserError
from ablations.plan import Arm, PlannedStudy, content_id, retuned
from ablations.search import storage as storages
from ablations.search.storage import Lock, heartbeat, is_gone, sign
from ablations.search.trials import (
    AGAIN,
    PLACE,
    REASON,
    RUNS,
    SURPLUS,
    WORKER,
    is_spent,
    load,
    most,
    places,
    settings_of,
    suggest,
)

PAUSE = 2.0  # seconds until a worker without work looks again whether others have ended
RANDOM = 10  # trials of an arm before the sampler learns from them; the same for every budget, so that it can be raised


class Surplus(Exception):
    """A trial beyond the budget, or in a place that is taken: nothing is trained for it."""


class Unfit(Exception):
    """The settings of a trial cannot be trained."""


class Training(Protocol):
    """How a worker trains; see `ablations.search.training.Runs`."""

    def id_of(self, arm: Arm, seed: int) -> str: ...

    def error_of(self, arm: Arm, seed: int, after_epoch: Callable[[int, float], None]) -> float: ...

    def macs_of(self, arm: Arm) -> int: ...


@dataclass
class Worker:
    """A process that does trials of a study's arms, under a name that tells whether it lives."""

    suite: str
    planned: PlannedStudy
    storage: BaseStorage
    name: str
    training: Training
    # When trials that no worker had signed were first seen, by study and number; only of a database.
    unsigned: dict[tuple[str, int], float] = field(default_factory=dict)

    def work(self) -> None:
        """Do trials of every arm until all places are spent, those of workers that are gone too: what others are doing
        is waited for."""
        told = False
        while True:
            for key in self.planned.arms:
                study = load(self.suite, self.planned, key, self.storage)
                objective = Objective(self.planned, key, study, self.training)
                while trial := self.claim(study):
                    with heartbeat(self.storage, study, trial):
                        do(study, trial, objective)
                    print_progress(self.planned, key, study)
            studies = (load(self.suite, self.planned, key, self.storage) for key in self.planned.arms)
            under_way = sum(unfinished(self.planned, study) for study in studies)
            if not under_way:
                return
            if not told:
                print(f"waiting for {under_way} trials of other workers", flush=True)
                told = True
            time.sleep(PAUSE)

    def claim(self, study: optuna.Study) -> optuna.Trial | None:
        """Take a trial of an arm and sign it; None where none is waiting. On a machine one worker at a time does so,
        see `left_behind`."""
        with Lock(layout.journal(self.suite).parent / "claims"):
            self.fail_over(study)
            waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
            budget = self.planned.search.trials
            if not any(trial.user_attrs.get(PLACE, budget) < budget for trial in waiting):
                return None
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                trial = study.ask()  # warns that no one records heartbeats
            sign(self.storage, study, trial)
            trial.set_user_attr(WORKER, self.name)
            return trial

    def fail_over(self, study: optuna.Study) -> None:
        """Enqueue the places again whose workers are gone, or whose memory did not suffice for once, with the settings
        that they had."""
        for trial in self.left_behind(study):
            with suppress(UpdateFinishedTrialError):  # by another worker
                study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        for place, trials in places(study, self.planned.search).items():
            under_way = any(trial.state in (TrialState.WAITING, TrialState.RUNNING) for trial in trials)
            if trials and not under_way and not is_spent(trials):
                study.enqueue_trial(settings_of(trials[-1]), user_attrs={PLACE: place})

    def left_behind(self, study: optuna.Study) -> Iterator[FrozenTrial]:
        """The running trials whose workers are gone. A worker signs a trial right after it has taken it. No other of
        this machine does so at this time, so that in a journal one without a signature is of a worker that is gone. In
        a database it may be of another machine, and is given some time."""
        on_this_machine = isinstance(self.storage, JournalStorage)
        if not on_this_machine:
            with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
                fail_stale_trials(study)  # by their heartbeats
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker = trial.user_attrs.get(WORKER)
            if on_this_machine:
                gone = worker is None or is_gone(self.suite, worker)
            else:
                seen = self.unsigned.setdefault((study.study_name, trial.number), time.monotonic())
                gone = worker is None and time.monotonic() - seen > storages.GRACE
            if gone:
                yield trial


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


def print_progress(planned: PlannedStudy, key: tuple[str, ...], study: optuna.Study) -> None:
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
    return TPESampler(seed=seed, n_startup_trials=RANDOM)


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
        others = self.others_in_its_place(trial)
        if others is None:
            trial.set_user_attr(REASON, SURPLUS)
            raise Surplus
        self.study.sampler = sampler(search, trial.user_attrs[PLACE])
        settings = suggest(trial, arm, search)
        try:
            tuned = retuned(arm, settings)
            errors = self.errors(trial, tuned)
            costs = [self.training.macs_of(tuned)] if "macs" in search.objectives else []
        except UserError as error:
            # Others on the device may have had the memory: the place is tried once more before it is spent.
            once_more = not any(other.user_attrs.get(AGAIN) for other in others)
            if isinstance(error, OutOfMemory) and once_more:
                trial.set_user_attr(AGAIN, True)
            trial.set_user_attr(REASON, str(error))
            raise Unfit from None
        return (sum(errors) / len(errors), *costs)

    def others_in_its_place(self, trial: optuna.Trial) -> list[FrozenTrial] | None:
        """The other trials in a trial's place, which have failed; None where it has no place, or one of them has taken
        it or was given it before."""
        in_place = places(self.study, self.planned.search).get(trial.user_attrs.get(PLACE), ())
        others = [each for each in in_place if each.number != trial.number]
        before = any(each.state == TrialState.RUNNING and each.number < trial.number for each in others)
        return others if in_place and not before and not is_spent(others) else None

    def errors(self, trial: optuna.Trial, tuned: Arm) -> list[float]:
        """The validation error of each run of a trial."""
        prunes, seeds = len(self.planned.search.objectives) == 1, self.planned.search.seeds
        epochs, runs, errors = most(self.planned, self.key, "recipe.epochs"), [], []

        def report(step: int, error: float, is_last: bool) -> None:
            """Stop the trial here if it does badly; there is nothing to save at its last step."""
            if prunes:
                trial.report(error, step)
                if not is_last and trial.should_prune():
                    raise optuna.TrialPruned

        def after_first_epochs(epoch: int, error: float) -> None:
            report(epoch, error, is_last=seeds == 1 and epoch == tuned.recipe.epochs)

        for seed in range(seeds):
            runs.append(self.training.id_of(tuned, seed))
            trial.set_user_attr(RUNS, runs)  # of a run that is stopped too
            after_epoch = after_first_epochs if seed == 0 else lambda epoch, error: None
            errors.append(self.training.error_of(tuned, seed, after_epoch))
            report(epochs + 1 + seed, errors[-1], is_last=seed == seeds - 1)
        return errors
