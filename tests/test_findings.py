"""Verdicts and what is missing, in words."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from conftest import write
from hypothesis import given
from hypothesis import strategies as st

from ablations.config import METRICS, Claim, Library
from ablations.findings import (
    adjusted_over,
    change,
    correlations,
    effect_with_interval,
    mark,
    missing_runs,
    numbers_of_runs,
    numeral,
    sentence,
    smallest,
    told_apart,
    value,
)
from ablations.plan import make_plan, plan_study
from ablations.statistics import MATTERS, NONE, SMALL, family

ROW = {
    "verdict": "supported", "method": "Welch's t", "mean_arm": 70.0, "mean_than": 6.0,
    "effect": 64.0, "low": 60.5, "high": 67.5, "means": "6 32.5 70",
    "effect_first": 9.0, "low_first": 8.0, "high_first": 10.0,
    "effect_second": -8.5, "low_second": -10.25, "high_second": -6.75,
    "effect_trained": math.nan, "low_trained": math.nan, "high_trained": math.nan, "reason": math.nan,
    "p_permuted": math.nan, "bca_low": math.nan, "bca_high": math.nan,
    "p": 0.0001, "against": NONE, "p_adjusted": 0.0023, "n_arm": 5, "n_than": 5, "runs": 10, "planned": 10, "diverged": 0,
    "partly_diverged": 0, "correlation": math.nan, "detectable": math.nan, "seeds_needed": math.nan,
}  # fmt: skip


PLAIN, RESIDUAL = {"shortcut": "none"}, {"shortcut": "identity"}
PLAIN_56, PLAIN_20 = {"shortcut": "none", "depth": 56}, {"shortcut": "none", "depth": 20}


@pytest.fixture(scope="module")
def depth():
    return plan_study(Library(), "digits", "depth")


def claim(**changes):
    common = {"statement": "s", "metric": "test_error", "margin": 1, "source": "he2015", "published": "p"}
    kind = {} if "kind" in changes else {"kind": "greater"}
    sides = {"arm": PLAIN_56, "than": PLAIN_20 if changes.get("kind") not in ("fails", "trend") else None}
    told = {**common, **kind, **sides, **changes}
    return Claim.model_validate({key: value for key, value in told.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "row", "told"),
    [
        (
            {},
            {"correlation": 0.849},
            "Supported. Test error: 70.00 % (depth 56) against 6.00 % (depth 20) (difference +64.00 pp [+60.50, +67.50], "
            "Welch's t: p < 0.001 against no effect, adjusted p = 0.002, n = 5 and 5, correlation over seeds 0.85; the "
            "smallest difference that matters was set to 1 pp). Published: p [@he2015].",
        ),
        ({}, {"correlation": -0.291}, "correlation over seeds −0.29; the"),
        ({}, {"correlation": -0.80}, "correlation over seeds −0.80; the"),
        (
            {},
            {"correlation": -0.81},
            "correlation over seeds −0.81, clearly negative: the interval is too narrow; the",
        ),
        ({}, {"correlation": -1.0}, "correlation over seeds −1.00, clearly negative: the"),
        (
            {},
            {"p_permuted": 0.0022, "bca_low": 61.25, "bca_high": 66.75, "n_arm": 6},
            "adjusted p = 0.002, permutation test p = 0.002, BCa interval [+61.25, +66.75], n = 6 and 5; the",
        ),
        ({}, {"p_permuted": 0.31}, "adjusted p = 0.002, permutation test p = 0.310, n = 5 and 5; the"),
        (
            {},
            {"against": MATTERS, "p": 0.0118},
            "Welch's t: p = 0.012 against an effect of 1 pp or more, adjusted",
        ),
        (
            {"kind": "not_greater", "margin": 0.2},
            {"against": SMALL},
            "p < 0.001 against an effect of less than 0.2 pp, adj",
        ),
        ({"kind": "not_greater", "margin": 0}, {"against": SMALL}, "p < 0.001 against no effect, adjusted"),
        ({"margin": 0}, {"against": MATTERS}, "p < 0.001 against any effect, adjusted"),
        ({"margin": 0}, {}, "n = 5 and 5; any difference matters). Published"),
        (
            {"kind": "fails", "threshold": 6.0},
            {"n_than": 0, "method": "Student's t"},
            "Test error: 70.00 % (shortcut none, depth 56) against a threshold of 6.00 % (difference +64.00 pp [+60.50, "
            "+67.50], Student's t: p < 0.001 against no effect, adjusted p = 0.002, n = 5; the",
        ),
        (
            {"kind": "trend", "arm": {"shortcut": "none"}, "factor": "depth", "direction": "rises"},
            {},
            "Test error: 6.00 % at depth 8 and 70.00 % at depth 56 (change along the straight line over the levels "
            "+64.00 pp [+60.50, +67.50], W",
        ),
        (
            {"kind": "trend", "arm": {"shortcut": "none"}, "factor": "depth", "direction": "rises"},
            {"means": "6 71.25 70"},
            "6.00 % at depth 8 and 70.00 % at depth 56; the means do not rise throughout: 6.00, 71.25 and 70.00 % (change",
        ),
        (
            {"kind": "trend", "arm": {"shortcut": "none"}, "factor": "depth", "direction": "falls"},
            {"means": "70 6 6", "mean_than": 70.0, "mean_arm": 6.0},
            "70.00 % at depth 8 and 6.00 % at depth 56; the means do not fall throughout: 70.00, 6.00 and 6.00 % (change",
        ),
        (
            {"kind": "crossover", "arm": PLAIN, "than": RESIDUAL, "factor": "depth", "at": ["first", 32]},
            {},
            "Test error: shortcut none minus shortcut identity is +9.00 pp [+8.00, +10.00] at depth 8 and −8.50 pp "
            "[−10.25, −6.75] at depth 32 (Welch's t: p < 0.001 against no effect at one of the levels, adjusted p = 0.002, n "
            "= 5 and 5; the",
        ),
        (
            {"kind": "crossover", "arm": PLAIN, "than": RESIDUAL, "factor": "depth", "at": ["first", 32]},
            {"p_permuted": 0.0022, "bca_low": 1.0, "bca_high": 2.0},  # of the difference of the differences
            "adjusted p = 0.002, permutation test p = 0.002, n = 5 and 5; the",
        ),
        (
            {"kind": "crossover", "arm": PLAIN, "than": RESIDUAL, "factor": "depth", "at": ["first", 32]},
            {"against": MATTERS},
            "p < 0.001 against effects of 1 pp or more at both levels, adjusted",
        ),
        (
            {},
            {"verdict": "inconclusive", "detectable": 5.954, "seeds_needed": 10.0},
            "the difference does not stand out from the spread between seeds: one of 5.95 pp would have been found "
            "with probability 80 %, and 10 seeds an arm would settle it",
        ),
        (
            {"kind": "not_greater"},
            {"verdict": "inconclusive", "detectable": 5.954, "seeds_needed": 9.0},
            "Inconclusive. At the level of this report the difference cannot be told from the smallest that matters: one "
            "of 5.95 pp more or less than that would have been, with probability 80 %, and 9 seeds an arm would settle it",
        ),
        (
            {"kind": "crossover", "arm": PLAIN, "than": RESIDUAL, "factor": "depth", "at": [20, 32]},
            {"verdict": "inconclusive", "detectable": 5.954},
            "the less clear of the two differences does not stand out from the spread between seeds: one of 5.95 pp "
            "would have been found with probability 80 %, and more than 1,000 seeds an arm would settle it",
        ),
        ({}, {"runs": 9, "n_than": 4}, ", n = 5 and 4 (9 of 10 planned); the"),
        (
            {},
            {"verdict": "not tested", "reason": "2 runs of each arm are needed"},
            "Not tested: 2 runs of each arm",
        ),
        ({}, {"diverged": 5}, "set to 1 pp). 5 of the 10 runs diverged and count as guessing. Published"),
        (
            {},
            {
                "diverged": 1,
                "partly_diverged": 1,
                "effect_trained": 60.0,
                "low_trained": 58.0,
                "high_trained": 62.0,
            },
            " 1 of the 10 runs diverged and counts as guessing; without it the difference is +60.00 pp [+58.00, +62.00], "
            "and the verdict has to hold either way. Published",
        ),
        (
            {},
            {
                "diverged": 7,
                "partly_diverged": 2,
                "effect_trained": 60.0,
                "low_trained": 58.0,
                "high_trained": 62.0,
            },
            " 7 of the 10 runs diverged and count as guessing; without the 2 in arms of which others trained the difference",
        ),
        (
            {"kind": "crossover", "arm": PLAIN, "than": RESIDUAL, "factor": "depth", "at": [20, 32]},
            {"diverged": 2, "partly_diverged": 2, "effect_trained": 60.0},
            " 2 of the 10 runs diverged and count as guessing; the verdict has to hold without them as well. Published",
        ),
        (
            {},
            {"diverged": 4, "partly_diverged": 4},
            " 4 of the 10 runs diverged and count as guessing; without them, an arm has fewer than 2 runs, too few for a "
            "verdict. Published",
        ),
        (
            {},
            {
                "verdict": "inconclusive",
                "reason": "supported with its diverged runs, without them inconclusive",
                "detectable": 5.954,
                "seeds_needed": 9.0,
            },
            "Inconclusive. Supported with its diverged runs, without them inconclusive: a verdict has to hold either way. "
            "Read the less clear way, the difference does not stand out from the spread between seeds: one of 5.95 pp "
            "would have been found with probability 80 %, and 9 seeds",
        ),
        (
            {},
            {"verdict": "inconclusive", "reason": "supported with its diverged runs, without them refuted"},
            "Supported with its diverged runs, without them refuted: a verdict has to hold either way. Test error: 70",
        ),
        (
            {"metric": "images_per_second"},
            {"diverged": 5},
            " 5 of the 10 runs diverged and count with what was measured of them. Published",
        ),
        (
            {"metric": "parameters", "margin": 0},
            {"method": "exact", "mean_arm": 19074.0, "mean_than": 850.0, "diverged": 5},
            "Supported. Parameters: 19,074 (depth 56) against 850 (depth 20) (difference +64, the same for every seed; "
            "any difference matters). Published",
        ),
    ],
)
def test_a_verdict_in_words(depth, changes, row, told):
    assert told in sentence(depth, claim(**changes), {**ROW, **row})


@pytest.mark.parametrize(
    ("arm", "than", "told"),
    [
        (PLAIN_56, PLAIN_20, ["depth 56", "depth 20"]),
        (PLAIN | {"depth": "last"}, PLAIN | {"depth": "first"}, ["depth 56", "depth 8"]),
        (
            PLAIN | {"depth": "last"},
            RESIDUAL | {"depth": 56},
            ["shortcut none, depth 56", "shortcut identity, depth 56"],
        ),
        (PLAIN, RESIDUAL, ["shortcut none", "shortcut identity"]),
        (PLAIN | {"depth": [32, "20"]}, PLAIN_56, ["depth 20 and 32", "depth 56"]),
        (PLAIN, PLAIN_56, ["", "depth 56"]),
    ],
)
def test_the_sides_of_a_claim_by_what_tells_them_apart(depth, arm, than, told):
    assert told_apart(depth, claim(arm=arm, than=than)) == told


def test_a_trend_ends_at_the_levels_that_its_arms_have():
    growth = plan_study(Library(), "digits", "growth_rate")  # the last level, none, is that of the ResNet
    trend = claim(kind="trend", arm={"kind": "dense"}, factor="growth_rate", direction="rises")
    last = [level.label for level in growth.factors["growth_rate"].levels][-2]
    assert f"6.00 % at growth rate 4 and 70.00 % at growth rate {last} (change" in sentence(
        growth, trend, ROW
    )


@pytest.mark.parametrize(("name", "told"), [("report", "suite"), ("depth", "suite"), ("width", "study")])
def test_what_p_values_are_adjusted_over(name, told):
    plan = make_plan(Library(), "digits")
    assert (
        adjusted_over(plan, name)
        == f"the {family(plan, name)} claims that {'the' if told == 'suite' else 'this'} {told} tests"
    )


@pytest.mark.parametrize(
    ("metric", "effect", "at", "margin"),
    [
        ("test_error", "+64.00 pp [+60.50, +67.50]", "70.00 %", "1 pp"),
        ("gap", "+64.00 pp [+60.50, +67.50]", "70.00 pp", "1 pp"),
        ("milliseconds_per_step", "+64 ms [+60.5, +67.5]", "70 ms", "1 ms"),
        ("train_loss", "+64 [+60.5, +67.5]", "70", "1"),
    ],
)
def test_numbers_stand_with_the_unit_of_their_metric(metric, effect, at, margin):
    of_metric = claim(metric=metric)
    assert effect_with_interval(of_metric, ROW) == effect
    assert (value(metric, 70.0), smallest(of_metric)) == (at, margin)


def test_effects_without_an_interval():
    assert effect_with_interval(claim(), {"verdict": "not tested"}) == "–"
    counted = {**ROW, "method": "exact", "effect": -18224.0}
    assert effect_with_interval(claim(metric="macs"), counted) == "−18,224"
    crossed = claim(kind="crossover", arm=PLAIN, than=RESIDUAL, factor="depth", at=[20, 56])
    assert effect_with_interval(crossed, {**ROW, "method": "exact"}) == "+9.00 pp and −8.50 pp"
    assert effect_with_interval(crossed, ROW) == "+9.00 pp [+8.00, +10.00] and −8.50 pp [−10.25, −6.75]"


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([], "None of the claims here compares two arms over three seeds or more."),
        ([0.25], "Of the 1 claim here that compares two arms it is above 0.5 for 0 and negative for 0, from 0.25 to 0.25."),
        (
            [0.849, math.nan, -0.665, 0.5, 0.7],
            "Of the 4 claims here that compare two arms it is above 0.5 for 2 and negative for 1, from −0.67 to 0.85.",
        ),
    ],
)  # fmt: skip
def test_correlations_are_counted(found, told):
    assert correlations(pd.DataFrame({"correlation": found}, dtype=float)) == told


@pytest.mark.parametrize(
    ("metric", "margin", "told"),
    [("test_error", 0, "any"), ("images_per_second", 0, "any"), ("images_per_second", 5, "5 images/s")],
)
def test_any_difference_matters_to_a_claim_with_a_margin_of_0(metric, margin, told):
    assert smallest(claim(metric=metric, margin=margin)) == told


@pytest.mark.parametrize(
    ("number", "told"),
    [(0.0217924, "0.0218"), (4.789661e-9, "4.79e-09"), (0.0, "0"), (99.96, "100"), (999.6, "1,000"), (5693.2, "5,693")],
)  # fmt: skip
def test_numbers_that_are_no_percentages_have_three_digits(number, told):
    assert numeral("train_loss", number) == told
    assert change("train_loss", -number) == f"−{told}"


@given(st.floats(-1e9, 1e9), st.sampled_from(sorted(METRICS)))
def test_printed_numbers_are_near_the_number(number, metric):
    printed = float(numeral(metric, number, "+").replace(",", "").replace("−", "-"))
    assert printed == pytest.approx(number, rel=0.0051, abs=0.0051 if "(" in METRICS[metric] else 0)


def test_the_table_marks_divergence_and_missing_runs():
    assert numbers_of_runs(ROW, ", ") + mark(ROW) == "5, 5"
    row = {**ROW, "n_than": 4, "runs": 9, "diverged": 2}
    assert numbers_of_runs(row, ", ") + mark(row) == "5, 4 (9 of 10 planned) †2"


def runs_without(planned, lost):
    rows = [
        {**planned.levels(key), "seed": seed}
        for key in planned.arms
        for seed in planned.seeds
        if (*key, seed) not in lost
    ]
    return pd.DataFrame(rows, columns=[*planned.factors, "seed"])


def test_missing_runs_are_told_with_the_command_that_trains_them(tmp_path):
    write(
        tmp_path / "my" / "suites" / "mine.yaml",
        "{title: t, data: digits, seeds: 2, recipe: {epochs: 1, batch_size: 8, "
        "learning_rate: 0.1}, studies: {depth: {levels: {depth: [8, 20]}}}}",
    )
    plan = make_plan(Library(tmp_path / "my"), "mine")
    planned = plan.study("depth")
    assert missing_runs(plan, planned, runs_without(planned, [])) == ""
    one = missing_runs(plan, planned, runs_without(planned, [("none", "20", 1)]))
    assert one == (
        "1 of the 8 runs of depth is missing: shortcut none, depth 20 (seed 1). `snakemake depth --cores all --config "
        f"suite=mine extra={tmp_path / 'my'}` trains it."
    )
    none = missing_runs(plan, planned, runs_without(planned, [(*k, s) for k in planned.arms for s in (0, 1)]))
    assert none.startswith("8 of the 8 runs of depth are missing: shortcut none, depth 8 (seeds 0 and 1); ")
    assert none.endswith("` trains them.")
