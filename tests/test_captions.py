"""What captions say of made-up tables, to the letter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ablations.captions import arm, caption, finding, headline_caption, seeds
from ablations.config import Figure, Library
from ablations.plan import make_plan, plan_study

DEPTH = plan_study(Library(), "digits", "depth")
ERRORS = {  # by depth: plain, residual
    "8": (2, 3), "20": (4, 3), "32": (13, 3), "56": (68, 2.75),
}  # fmt: skip


def table(planned=DEPTH, seeds=2, error=lambda shortcut, depth: ERRORS[depth][shortcut == "identity"]):
    """Runs of a study whose error depends on the arm alone, with costs by the order of arms."""
    rows = [
        {"run": f"{number}-{seed}", **planned.levels(key), "seed": seed, "status": "finished"}
        | {"test_error": error(*key), "train_error": 0.0, "train_loss": 0.0}
        | {"macs": 10**number, "parameters": 10.0**-number, "seconds": 1.0}
        for number, key in enumerate(planned.arms)
        for seed in range(seeds)
    ]
    runs = pd.DataFrame(rows)
    for name, factor in planned.factors.items():
        runs[name] = pd.Categorical(runs[name], [level.label for level in factor.levels], ordered=True)
    return runs


def figure(**changes):
    usual = {"kind": "levels", "x": "depth", "y": ["test_error"], "colour": "shortcut", "title": "Error"}
    return Figure.model_validate({**usual, **changes})


NO_HISTORY = pd.DataFrame(columns=["run", "epoch", "train_error"])


def test_within_each_of_two_colours_the_caption_compares_the_levels_along_the_axis():
    told = finding(figure(y=["train_error", "test_error"]), DEPTH, table(), NO_HISTORY)
    assert told == (
        "Training error is 0.00 % in every arm. "
        "With shortcut *none*, test error is lowest at depth *8* (2.00 %) and highest at *56* (68.00 %); "
        "with *identity* it is lowest at depth *56* (2.75 %) and highest in 3 of 4 arms (3.00 %)."
    )
    two = table(error=lambda shortcut, depth: 5.0 if shortcut == "none" else ERRORS[depth][0])
    assert finding(figure(), DEPTH, two, NO_HISTORY) == (
        "With shortcut *none*, test error is 5.00 % in every arm; "
        "with *identity* it is lowest at depth *8* (2.00 %) and highest at *56* (68.00 %)."
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            lambda shortcut, depth: ERRORS[depth][shortcut == "identity"],
            "Test error is lowest at shortcut *none*, depth *8* (2.00 %) and highest at shortcut *none*, depth *56* (68.00 %).",
        ),
        (
            lambda shortcut, depth: 1.0 if depth == "8" else 2.0,
            "Test error is lowest in 2 of 8 arms (1.00 %) and highest in 6 of 8 arms (2.00 %).",
        ),
        (lambda shortcut, depth: 1.0, "Test error is 1.00 % in every arm."),
        (lambda shortcut, depth: np.nan, "No run has a test error."),
        (
            lambda shortcut, depth: 1.0 if (shortcut, depth) == ("none", "8") else np.nan,
            "Test error is 1.00 % at shortcut *none*, depth *8*.",
        ),
    ],
)
def test_of_more_colours_it_names_the_extremes(error, told):
    assert finding(figure(x="shortcut", colour="depth"), DEPTH, table(error=error), NO_HISTORY) == told


def test_a_metric_that_only_one_of_two_colours_has_is_told_by_its_extremes():
    runs = table(error=lambda shortcut, depth: ERRORS[depth][0] if shortcut == "none" else np.nan)
    assert finding(figure(), DEPTH, runs, NO_HISTORY).startswith("Test error is lowest at shortcut *none*, ")


def test_the_front_is_named_by_cost_and_counted_with_its_ends_where_it_is_long():
    runs = table()
    told = finding(figure(kind="cost", x=["macs", "seconds"]), DEPTH, runs, NO_HISTORY)
    assert told == (
        "On the Pareto front of test error stand, by multiply-adds and training time, shortcut *none*, depth *8* (2.00 %)."
    )
    falling = runs.assign(test_error=10 - np.log10(runs["macs"].astype(float)))
    told = finding(figure(kind="cost", x=["macs", "parameters"]), DEPTH, falling, NO_HISTORY)
    assert told == (
        "On the Pareto front of test error stand, by multiply-adds, 8 arms, from shortcut *none*, depth *8* (10.00 %) to "
        "shortcut *identity*, depth *56* (3.00 %); by parameters, shortcut *identity*, depth *56* (3.00 %)."
    )
    unfinished = finding(figure(kind="cost", x="seconds"), DEPTH, runs.assign(status="diverged"), NO_HISTORY)
    assert unfinished == "On the Pareto front of test error stand, by training time, no arm."


def test_curves_are_told_by_their_ends():
    runs = table().assign(train_error=lambda runs: runs["test_error"])
    runs.loc[0, ["status", "train_error"]] = "diverged", 90.0
    history = pd.concat(
        runs[["run"]].assign(epoch=epoch, train_error=runs["test_error"] / epoch) for epoch in (1, 2)
    )
    history = history[(history["run"] != "0-0") | (history["epoch"] == 1)]
    shown = figure(kind="curves", x=[], y=["train_error"], colour="depth", panels="shortcut")
    assert finding(shown, DEPTH, runs, history) == (
        "After the last epoch, training error is lowest at shortcut *identity*, depth *56* (1.38 %) and highest at "
        "shortcut *none*, depth *8* (45.50 %)."
    )


def test_a_caption_begins_with_the_title_and_ends_with_n_what_is_drawn_and_divergence():
    runs = table().drop(index=15)
    runs.loc[0, "status"] = "diverged"
    told = caption(figure(), DEPTH, runs, NO_HISTORY)
    assert told.startswith("**Error.** With shortcut *none*, test error is lowest at")
    assert told.endswith(
        " (3.00 %). n = 1 to 2 seeds an arm; dots are runs, lines join their means, bars 95 % intervals of the mean "
        "(Student's t). 1 of 15 runs diverged and counts as guessing."
    )
    cost = caption(figure(kind="cost", x=["seconds"]), DEPTH, table(), NO_HISTORY)
    assert cost.endswith(
        "rings and grey steps are the Pareto front of the means; at the points stands the depth."
    )
    assert "seeds an arm; dots are runs" in cost and "diverged" not in cost
    pooled = caption(figure(x="shortcut"), DEPTH, table(), NO_HISTORY)
    assert "the arms of every depth together." in pooled and "large marks their means" in pooled
    curves = figure(kind="curves", x=[], y=["train_error"], colour="shortcut")
    history = table()[["run"]].assign(epoch=1, train_error=1.0)
    assert "a cross ends" not in caption(curves, DEPTH, table(), history)
    assert "a cross ends a run that diverged" in caption(
        curves, DEPTH, table().assign(status="diverged"), history
    )


@pytest.mark.parametrize("study", ["depth", "growth_rate", "bottleneck", "layer_norm", "regularisation"])
def test_a_caption_of_costs_takes_few_lines(study):
    planned = plan_study(Library(), "digits", study)
    random = np.random.default_rng(0)
    runs = table(planned, error=lambda *levels: random.uniform(20, 40))
    shown = next(figure for figure in planned.study.figures.values() if figure.kind == "cost")
    assert len(caption(shown, planned, runs, NO_HISTORY)) < 700


@pytest.mark.parametrize(("kept", "told"), [(16, "2 seeds"), (15, "1 to 2 seeds"), (2, "0 to 2 seeds")])
def test_the_number_of_seeds_is_a_range_where_arms_differ(kept, told):
    assert seeds(DEPTH, table()[:kept]) == told
    assert seeds(DEPTH, table(seeds=1)) == "1 seed"


def test_an_arm_in_words():
    assert arm(pd.Series({"growth_rate": "4", "kind": "dense"})) == "growth rate *4*, kind *dense*"


def test_the_headline_counts_the_verdicts(workspace):
    rows = [
        ("plain-networks-degrade-with-depth", "supported"),
        ("residual-networks-do-not-degrade", "not tested"),
    ]
    verdicts = pd.DataFrame([{"study": "depth", "claim": claim, "verdict": told} for claim, told in rows])
    told = headline_caption(make_plan(Library(), "digits"), verdicts)
    assert told.startswith(
        "**All verdicts.** Of 2 claims 1 is supported and 1 is not tested. Differences of means in percentage points"
    )
    assert "relative" not in told
