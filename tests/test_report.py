"""From runs to the report, with made-up runs: nothing is trained."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
from conftest import write

from ablations import layout
from ablations.collect import collect, read_table, seconds_to_target, write_table
from ablations.config import Library
from ablations.data import prepare, read_header
from ablations.figures import draw
from ablations.plan import Run, make_plan
from ablations.report import methods, write_report, write_verdicts
from ablations.store import Store, table

SUITE = """
title: made up
data: digits-small
seeds: 2
recipe: {{epochs: 3, batch_size: 64, learning_rate: 0.05}}
studies: {{depth: {{levels: {{depth: [8, 20]}}, {of_study}}}}}
"""
ERRORS = {"8": [50, 10, 12], "20": [60, 30, 20]}  # of validation after each epoch, by depth
ENVIRONMENT = {"device": "a processor", "threads": 1, "torch": "2.15.0", "python": "3.13.0"}


def plan_of(folder, of_study=""):
    """The plan of a suite that runs the study `depth` with this beside its levels."""
    write(folder / "my" / "suites" / "mine.yaml", SUITE.format(of_study=of_study))
    return make_plan(Library(folder / "my"), "mine")


def made_up(plan):
    """A store with every run of the study `depth`, each epoch of which took a second and 100 MB at most."""
    store, rows = Store(layout.RESULTS), []
    for (_, depth), arm in plan.study("depth").arms.items():
        rows.append({"arm": arm.id, "macs": 1e6, "norm_ops": 1e3, "parameters": 1e4, "activations": 1e3})
        prepare(arm.dataset, layout.data(arm.data_key))
        for seed in plan.study("depth").seeds:
            history = [
                {"epoch": epoch, "validation_error": error, "train_error": error, "seconds": float(epoch)}
                for epoch, error in enumerate(ERRORS[depth], start=1)
            ]
            measured = {
                f"{split}_error": ERRORS[depth][-1] + seed for split in ("train", "validation", "test")
            }
            metrics = {"status": "finished", "peak_memory_mb": 100, **measured}
            run = Run(arm, seed, read_header(layout.data(arm.data_key)).fingerprint)
            store.save(run, metrics, history, b"", ENVIRONMENT)
    write_table(pd.DataFrame(rows), layout.study_table("mine", "depth", "cost"))
    return store


def report(plan):
    """The Markdown of the suite's report on these runs."""
    collect(plan, "depth")
    draw(plan, "depth")
    write_verdicts(plan, "report")
    write_report(plan, "report")
    return layout.report("mine", "report", "md").read_text()


@pytest.mark.parametrize(
    ("target", "seconds"), [(10, {"a": 2.0, "b": 3.0}), (9.5, {"b": 3.0}), (0, {}), (None, {})]
)
def test_seconds_to_target_are_those_of_the_first_epoch_at_or_below_it(target, seconds):
    errors = {"a": [50, 10, 12, 10], "b": [90, 80, 9, 9], "diverged": [90, math.nan]}
    history = pd.DataFrame(
        {"run": run, "validation_error": error, "seconds": float(epoch)}
        for run, values in errors.items()
        for epoch, error in enumerate(values, start=1)
    )
    assert seconds_to_target(history, target).to_dict() == seconds


def test_the_table_of_runs_has_cells_for_what_a_run_lacks(workspace):
    plan = plan_of(workspace, "target_error: 10")
    store = made_up(plan)
    collect(plan, "depth")
    runs = read_table(layout.study_table("mine", "depth", "runs")).set_index(["depth", "seed"])
    assert runs.loc[(8, 0), "seconds_to_target"].tolist() == [2, 2]
    assert runs.loc[(20, 0), "seconds_to_target"].isna().all()
    assert (runs["peak_memory_mb"] == 100).all()
    arm = next(iter(plan.study("depth").arms.values()))
    rows = table(store.rows(arm, [0, 1], read_header(layout.data(arm.data_key)))).splitlines()
    assert rows[0].count(",") == rows[1].count(",") == rows[2].count(",")


def test_the_report_tells_the_time_to_a_target_where_there_is_one(workspace):
    made_up(plan_of(workspace))
    assert " To " not in report(plan_of(workspace))
    text = " ".join(report(plan_of(workspace, "target_error: 10.5")).split())
    assert "| Test error (%) | To 10.5 % |" in text and "To 10.5 %: seconds from the start" in text
    assert "| 12.50 ± 6.35 | 2.0 s (2 of 2) |" in text
    assert "| 20.50 ± 6.35 | – (0 of 2) |" in text


@pytest.mark.parametrize(
    ("shortcuts", "told"),
    [
        ((), ""),
        (("none",), "again: shortcut none, depth 8; shortcut none, depth 20."),
        (("none", "identity"), "again: all arms."),
    ],
)
def test_arms_that_were_not_trained_deterministically_are_named(tmp_path, shortcuts, told):
    planned = plan_of(tmp_path).study("depth")
    quick = {
        key: replace(arm, recipe=arm.recipe.model_copy(update={"deterministic": key[0] not in shortcuts}))
        for key, arm in planned.arms.items()
    }
    sizes = pd.DataFrame([{"train_images": 256, "validation_images": 60, "test_images": 120}])
    text = methods(replace(planned, arms=quick), sizes)
    assert text.endswith(told or "for each of 4 arms.")
    assert text.count("deterministic") == bool(told)
