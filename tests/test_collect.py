"""The table of runs, from made-up runs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from conftest import write

from ablations import layout
from ablations.collect import collect, read_runs, with_derived, write_table
from ablations.config import COLUMNS, METRICS, Library
from ablations.data import prepare, read_header
from ablations.plan import Run, make_plan
from ablations.store import ENVIRONMENT, Store

SUITE = """
title: made up
data: digits-small
seeds: 2
target_error: 10
recipe: {epochs: 1, batch_size: 64, learning_rate: 0.05}
studies: {depth: {levels: {depth: [8]}}}
"""
MEASURED = (
    *("train_loss", "train_error", "validation_loss", "validation_error", "test_loss", "test_error"),
    *("sparsity", "epochs_trained", "measured_epoch", "peak_memory_mb", "seconds"),
)


def collected(folder, gradient_norm):
    """The table of runs of a study whose runs have this gradient norm and took 100 ms a step."""
    write(folder / "my" / "suites" / "mine.yaml", SUITE)
    plan, store, costs = make_plan(Library(folder / "my"), "mine"), Store(layout.RESULTS), []
    planned = plan.study("depth")
    history = [{"epoch": 1, "seconds": 2.0, "validation_error": 9.0, "gradient_norm": gradient_norm}]
    metrics = {"status": "finished", "images_per_second": 640.0, **dict.fromkeys(MEASURED, 1.0)}
    for arm in planned.arms.values():
        costs.append({"arm": arm.id, "macs": 1e6, "norm_ops": 1e3, "parameters": 1e4, "activations": 1e3})
        prepare(arm.dataset, layout.data(arm.data_key))
        for seed in planned.seeds:
            run = Run(arm, seed, read_header(layout.data(arm.data_key)).fingerprint)
            store.save(run, metrics, history, b"", dict.fromkeys(ENVIRONMENT, 1))
    write_table(pd.DataFrame(costs), layout.study_table("mine", "depth", "cost"))
    collect(plan, "depth")
    return planned, read_runs("mine", planned)


def test_what_follows_from_other_columns():
    table = pd.DataFrame(
        {
            "run": ["a", "b", "c"],
            "arm": ["x", "x", "y"],
            "status": ["finished", "diverged", "finished"],
            "train_error": [5.0, 90.0, 7.0],
            "test_error": [12.5, 90.0, 6.0],
            "images_per_second": [320.0, 640.0, 100.0],
        }
    )
    history = pd.DataFrame(
        {"run": ["c", "a", "a", "b", "b"], "gradient_norm": [0.25, 3.0, 2.0, 7.0, math.nan]}
    )
    derived = with_derived(table, history, {"x": 32, "y": 50})
    assert derived["gap"].tolist()[::2] == [7.5, -1.0] and math.isnan(derived["gap"][1])
    assert derived["milliseconds_per_step"].tolist() == [100.0, 50.0, 500.0]
    # the last epoch's, even where it is not a number
    assert np.array_equal(derived["gradient_norm"], [2.0, math.nan, 0.25], equal_nan=True)


def test_metrics_are_columns_of_the_table_of_runs_and_all_columns_are_known(workspace):
    planned, runs = collected(workspace, gradient_norm=1.5)
    assert set(METRICS) <= set(runs) <= {*planned.factors, *COLUMNS, *METRICS}
    assert runs["milliseconds_per_step"].tolist() == [100.0] * 4
    assert (runs["gradient_norm"].tolist(), runs["gap"].tolist()) == ([1.5] * 4, [0.0] * 4)


def test_an_infinite_gradient_survives_the_file(workspace):
    _, runs = collected(workspace, gradient_norm=math.inf)
    assert np.isinf(runs["gradient_norm"]).all()
