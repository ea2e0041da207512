"""What a search has found: the table of trials, and the best settings of each arm."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import optuna
import pandas as pd
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from ruamel.yaml import YAML

from ablations import layout
from ablations.collect import write_table
from ablations.errors import UserError
from ablations.files import write_text
from ablations.plan import PlannedStudy
from ablations.search.trials import (
    REASON,
    RUNS,
    TAKEN,
    WORKER,
    forget_marks,
    is_spent,
    load,
    places,
    settings_of,
)

STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def write_outcome(suite: str, planned: PlannedStudy, storage: BaseStorage) -> None:
    """Write results/<suite>/<study>/search/trials.csv, a row a trial, and best.yaml, the settings of each arm's best.
    UserError where trials are still to be done."""
    rows, best = [], []
    for key in planned.arms:
        study = load(suite, planned, key, storage)
        left = sum(not is_spent(trials) for trials in places(study, planned.search).values())
        if left:
            forget_marks(suite, planned)
            raise UserError(
                f"{left} of the {planned.search.trials} trials of {' '.join(key)} are not done yet; go on with: "
                f"snakemake search --cores all --config suite={suite} study={planned.name}"
            )
        rows += list(table_rows(planned, key, study))
        best.append(best_of(planned, key, study))
    write_table(pd.DataFrame(rows), layout.trials(suite, planned.name))
    text = io.StringIO()
    YAML().dump({"study": planned.name, "suite": suite, "arms": best}, text)
    write_text(layout.best(suite, planned.name), text.getvalue())


def table_rows(planned: PlannedStudy, key: tuple[str, ...], study: optuna.Study) -> Iterator[dict[str, Any]]:
    """A row for each trial of an arm: its levels, the place in the budget, what became of it, its settings; times in
    UTC."""
    for place, trials in places(study, planned.search).items():
        for trial in trials:
            seconds = trial.duration.total_seconds() if trial.duration else None
            values = trial.values if trial.state in TAKEN and trial.values else ()
            yield {
                **planned.levels(key),
                "trial": trial.number,
                "place": place,
                "state": STATES[trial.state],
                "reason": trial.user_attrs.get(REASON, ""),
                **dict.fromkeys(planned.search.objectives),
                **dict(zip(planned.search.objectives, values, strict=False)),
                **dict.fromkeys(planned.search.space),
                **settings_of(trial),
                "seconds": seconds,
                "started": trial.datetime_start
                and f"{trial.datetime_start.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}",
                "worker": trial.user_attrs.get(WORKER, ""),
                "runs": " ".join(trial.user_attrs.get(RUNS, ())),
            }


def best_of(planned: PlannedStudy, key: tuple[str, ...], study: optuna.Study) -> dict[str, Any]:
    """The settings of the finished trial with the lowest validation error, the earliest of equals; without one, the
    arm's own."""
    in_places = itertools.chain(*places(study, planned.search).values())
    finished = [trial for trial in in_places if trial.state == TrialState.COMPLETE]
    found: dict[str, Any] = {"levels": planned.levels(key), "settings": {}}
    if finished:
        best = min(finished, key=lambda trial: (trial.values[0], trial.number))
        found |= {"settings": dict(best.params), "trial": best.number, "validation_error": best.values[0]}
    return found
