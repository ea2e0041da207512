"""From runs to the report, with made-up runs: nothing is trained."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
from conftest import write

from ablations import layout
from ablations.collect import collect, read_table, seconds_to_target, write_table
from ablations.config import Claim, Library
from ablations.data import prepare, read_header
from ablations.figures import draw
from ablations.findings import sentence
from ablations.methods import methods
from ablations.plan import Run, make_plan
from ablations.report import error_on_others, write_report, write_verdicts
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
            metrics = {"status": "finished", "seconds": 3.0, "peak_memory_mb": 100, **measured}
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


def test_the_list_of_runs_is_left_to_the_html(workspace):
    plan = plan_of(workspace)
    made_up(plan)
    text, page = report(plan), layout.report("mine", "report", "html").read_text()
    runs = read_table(layout.study_table("mine", "depth", "runs"))["run"]
    assert len(runs) == 8 and all(f"<td>{run}</td>" in page for run in runs)
    assert "<" not in text.replace("\\<", "") and "Its runs" not in text and "](#runs" not in text


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


ROW = {
    "verdict": "supported", "mean_arm": 70.0, "mean_than": 6.0, "effect_first": 9.0, "effect_second": -8.5,
    "p_adjusted": 0.0001, "n_arm": 5, "n_than": 5, "correlation": math.nan, "detectable": math.nan,
    "seeds_needed": math.nan,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "row", "told"),
    [
        (
            {"kind": "greater", "than": {}},
            {"correlation": 0.849},
            "Supported. Test error: 70.00 % against 6.00 % (difference EFFECT, p < 0.001, n = 5 and 5, correlation "
            "over seeds 0.85; the smallest difference that matters was set to 1).",
        ),
        (
            {"kind": "fails", "threshold": 6.0},
            {"n_than": 0},
            "Test error: 70.00 % against a threshold of 6.00 % (difference EFFECT, p < 0.001, n = 5; the",
        ),
        (
            {"kind": "trend", "factor": "depth", "direction": "rises"},
            {},
            "Test error: 6.00 % at the first and 70.00 % at the last level (change along the straight line over the "
            "levels EFFECT, p",
        ),
        (
            {"kind": "crossover", "than": {}, "factor": "batch_size", "at": [2, 32]},
            {},
            "difference +9.00 pp at batch size 2 and -8.50 pp at batch size 32 (the one minus the other EFFECT, p",
        ),
        (
            {"kind": "greater", "than": {}},
            {"verdict": "inconclusive", "detectable": 5.954, "seeds_needed": 10.0},
            "one of 5.95 pp would have been found with probability 80 %, and 10 seeds an arm would settle it",
        ),
        (
            {"kind": "less", "than": {}},
            {"verdict": "inconclusive", "detectable": 5.954},
            "and more than 1,000 seeds an arm would settle it",
        ),
    ],
)
def test_a_verdict_in_words(changes, row, told):
    common = {"statement": "s", "metric": "test_error", "margin": 1, "source": "he2015", "published": "p"}
    assert told in sentence(Claim.model_validate({**common, **changes}), {**ROW, **row}, "EFFECT")


def test_the_error_of_the_test_set_is_told_apart_from_that_of_seeds():
    runs = pd.DataFrame({"test_error": [5.0, 10.0, 20.0], "test_images": 360})
    assert (
        "the median test error, 10.00 % of these 360 images, stands for [7.31, 13.53] on others"
        in error_on_others(runs)
    )
    assert error_on_others(runs[:0]) == ""
