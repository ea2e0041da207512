"""Which trials are stopped before their end."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, WilcoxonPruner
from optuna.trial import FrozenTrial, TrialState

# The one-sided p of a Wilcoxon test below which a trial is stopped: 1/8, of three seeds that are all worse than those
# of the best trial, is. (Optuna's 0.1 takes a fourth.)
WORSE = 0.15


class EpochsThenSeeds(BasePruner):
    """Stops a trial that does badly: in its first run by Hyperband over the epochs after the warm-up (Li et al. 2018),
    up to step `epochs`; in those of further seeds, one step each after that, by a Wilcoxon test against the best
    trial."""

    def __init__(self, epochs: int, warmup: float):
        self.epochs = epochs
        first = min(epochs, int(warmup) + 1)  # rates that grow for longer look worse before
        self.over_epochs = HyperbandPruner(min_resource=first, max_resource=epochs, reduction_factor=3)
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            self.over_seeds = WilcoxonPruner(p_threshold=WORSE)

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
