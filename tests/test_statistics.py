from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablations.config import Claim, Library
from ablations.plan import plan_study
from ablations.statistics import Verdict, adjust, decide, judge, mean_interval, resolution, welch

SAMPLES = st.lists(st.floats(0, 100), min_size=2, max_size=8).map(np.array)


@given(SAMPLES, SAMPLES)
def test_welch_equals_scipys(a, b):
    if min(a.std(), b.std()) < 1e-3:
        return  # ours puts a floor under the spread there
    ours, theirs = welch(a, b, 0.0), stats.ttest_ind(a, b, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert ours.interval == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-9)
    above, below = (
        stats.ttest_ind(a, b, equal_var=False, alternative=way).pvalue for way in ("greater", "less")
    )
    assert ours.p_above(0) == pytest.approx(min(1, 2 * above), abs=1e-9)
    assert ours.p_below(0) == pytest.approx(min(1, 2 * below), abs=1e-9)


def test_equal_values_do_not_prove_a_spread_of_zero():
    difference = welch(np.zeros(3), np.zeros(3), resolution=1.0)
    low, high = difference.interval
    assert low < 0 < high and math.isfinite(difference.p_above(0))


@given(SAMPLES)
def test_mean_interval_equals_scipys(values):
    _, low, high = mean_interval(values)
    if values.std() > 1e-6:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-6)
    assert math.isnan(mean_interval(values[:1])[1])


def test_equal_values_have_an_interval_of_rounding():
    mean, low, high = mean_interval(np.full(3, 2.0), resolution=1.0)
    assert mean == 2 and high - low == pytest.approx(2 * stats.t.ppf(0.975, 2) * math.sqrt(1 / 12 / 3))


def claim(kind="greater", margin=1.0):
    return Claim(
        statement="s",
        kind=kind,
        metric="test_error",
        arm={},
        than={},
        margin=margin,
        source="he2015",
        published="p",
    )


@pytest.mark.parametrize(
    ("kind", "effect", "p_for", "p_against", "told"),
    [
        ("greater", 5, 0.001, 1.0, "supported"),
        ("greater", 5, 0.08, 1.0, "inconclusive"),
        ("greater", 0.5, 0.001, 0.01, "refuted"),  # there, but shown to be smaller than what matters
        ("greater", 0.9, 0.001, 0.7, "inconclusive"),
        ("greater", -3, 1.0, 0.001, "refuted"),
        ("not_greater", 0.2, 0.001, 0.8, "supported"),
        ("not_greater", 0.5, 0.01, 0.001, "supported"),  # there, but shown to be smaller than what matters
        ("not_greater", 0.2, 0.3, 0.8, "inconclusive"),
        ("not_greater", 5, 1.0, 0.001, "refuted"),
    ],
)
def test_decisions(kind, effect, p_for, p_against, told):
    verdict = decide(claim(kind), Verdict("study", "claim", "", effect=effect), p_for, p_against)
    assert verdict.verdict == told
    assert verdict.p_adjusted == (p_against if told == "refuted" else p_for)


def test_adjusted_p_by_hand():
    # sorted: .001 .01 .02 .5 .6 1; of six hypotheses three can be true: multipliers 3 3 3 3 2 1
    pairs = [(0.001, 1.0), (0.02, 0.6), (0.5, 0.01)]
    expected = [(0.003, 1.0), (0.06, 1.0), (1.0, 0.03)]
    assert np.allclose(adjust(pairs), expected)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6))
def test_adjusting_lies_between_the_raw_p_and_holms(pairs):
    from statsmodels.stats.multitest import multipletests

    flat = np.array(pairs).ravel()
    ours, holm = np.array(adjust(pairs)).ravel(), multipletests(flat, method="holm")[1]
    assert (ours >= flat - 1e-12).all() and (ours <= holm + 1e-12).all()


def test_false_positives_over_a_report_stay_below_five_per_cent():
    """Ten claims whose effects lie on the border of what they state, 6 seeds, 2,000 reports."""
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(2000):
        samples = [(random.normal(0, 1, 6), random.normal(0, 3, 6)) for _ in range(10)]
        differences = [welch(a, b, 0.0) for a, b in samples]
        adjusted = adjust([(d.p_above(0), d.p_below(10)) for d in differences])
        wrong += any(p_for < 0.05 for p_for, _ in adjusted)
    assert wrong / 2000 <= 0.05


def runs_of(planned, errors):
    """A table of runs: errors by (shortcut, depth), the same for training and test."""
    rows = [
        {
            "shortcut": shortcut,
            "depth": depth,
            "seed": seed,
            "train_error": error,
            "test_error": error,
            "train_images": 1000,
            "test_images": 500,
        }
        for (shortcut, depth), values in errors.items()
        for seed, error in enumerate(values)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def depth():
    return plan_study(Library(), "digits", "depth")


def test_verdicts_on_the_depth_study(depth):
    errors = {
        ("none", "20"): [5, 6, 7],
        ("none", "56"): [60, 70, 80],
        ("identity", "20"): [2, 2.1, 2.2],
        ("identity", "56"): [2, 2.1, 2],
    }
    plain, residual, better = judge([(depth, runs_of(depth, errors))])
    assert [v.verdict for v in (plain, residual, better)] == ["supported"] * 3
    assert plain.effect == pytest.approx(64) and (plain.n_arm, plain.n_than) == (3, 3)
    assert all(v.p_adjusted >= v.p_for for v in (plain, residual, better))


def test_a_claim_without_runs_says_so(depth):
    plain, residual, _ = judge(
        [
            (
                depth,
                runs_of(
                    depth, {("none", "20"): [5, 6], ("identity", "20"): [1, 2], ("identity", "56"): [1, 2]}
                ),
            )
        ]
    )
    assert (plain.verdict, plain.reason) == ("not tested", "0 and 2 runs; 2 of each are needed")
    assert residual.verdict != "not tested"


def test_a_claim_on_arms_that_the_suite_lacks_says_so():
    planned = plan_study(Library(), "smoke", "depth")
    smaller = planned.__class__(
        planned.name,
        planned.study,
        {
            **planned.factors,
            "depth": planned.factors["depth"].model_copy(
                update={"levels": planned.factors["depth"].levels[:2]}
            ),
        },
        {k: a for k, a in planned.arms.items() if k[1] != "56"},
        planned.seeds,
    )
    verdicts = judge([(smaller, runs_of(smaller, {("none", "20"): [5, 6]}))])
    assert all(v.verdict == "not tested" and "no level `56`" in v.reason for v in verdicts)


def test_resolution_is_one_image():
    runs = pd.DataFrame({"test_images": [500, 500]})
    assert resolution(runs, "test_error") == 0.2


@pytest.mark.parametrize(
    ("execution", "told"),
    [("CUDA graph", "supported"), ("eager: stochastic depth draws on the processor", "not tested")],
)
def test_speeds_are_compared_only_where_they_were_executed_in_the_same_way(execution, told):
    planned = plan_study(Library(), "digits", "regularisation")
    claim = planned.study.claims["stochastic-depth-saves-time"]
    rows = []
    for levels, speed, how in ((claim.arm, 200.0, execution), (claim.than, 100.0, "CUDA graph")):
        (key,) = planned.select(levels)
        for seed in range(3):
            where = {"device": "a GPU", "threads": 1, "execution": how, "at_once": 3}
            rows.append({**planned.levels(key), "seed": seed, "images_per_second": speed + seed, **where})
    runs = pd.DataFrame(rows).assign(test_error=0.0, test_loss=0.0, train_error=0.0, train_loss=0.0)
    runs = runs.assign(test_images=100, train_images=100)
    (verdict,) = [v for v in judge([(planned, runs)]) if v.claim == "stochastic-depth-saves-time"]
    assert verdict.verdict == told
    if told == "not tested":
        assert "executed differently: a GPU, 1, eager: stochastic depth" in verdict.reason
