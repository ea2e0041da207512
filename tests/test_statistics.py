from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from benchmarks import coverage
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.config import KINDS_OF_CLAIM, METRICS, Claim, Library
from ablations.contrasts import ALPHA, Contrast, contrast, seeds_needed
from ablations.plan import make_plan, plan_study
from ablations.statistics import (
    MATTERS,
    MEASURED_ON_THE_MACHINE,
    METHODS,
    NONE,
    SMALL,
    Comparison,
    Verdict,
    adjust,
    agreed,
    aligned,
    cautious,
    decide,
    family,
    judge,
    listed_arms,
    listed_seeds,
    matters,
    missing,
    p_values,
    resolution,
    unsettled,
)


def welch(a, b, resolution):
    return contrast([a, b], [1, -1], resolution)


KEYS = {"fails": {"threshold": 20.0}, "trend": {"factor": "f", "direction": "falls"}}
KEYS["crossover"] = {"factor": "f", "at": ["a", "b"], "than": {}}


def claim(kind="greater", margin=1.0, metric="test_error"):
    return Claim(
        statement="s",
        kind=kind,
        metric=metric,
        arm={},
        margin=margin,
        source="he2015",
        published="p",
        **KEYS.get(kind, {"than": {}}),
    )


def difference_of(effect, variance=1.0, seeds=5):
    return Contrast(effect, np.array([variance, variance]), np.array([seeds, seeds]))


def decided(of, turned, *p, trained=None, without=None):
    """The verdict on a claim by its contrasts and adjusted p values; where given, by those without diverged runs too."""
    comparison = Comparison(of, Verdict("study", "claim", ""), turned, turned if trained is None else trained)
    return decide(comparison, np.array(p), np.array(without or p), ALPHA)


@pytest.mark.parametrize(
    ("kind", "effects", "p_for", "p_against", "told"),
    [
        ("greater", [5], 0.001, 1.0, "supported"),
        ("greater", [5], 0.08, 1.0, "inconclusive"),
        ("greater", [0.5], 0.001, 0.01, "refuted"),  # there, but shown to be smaller than what matters
        ("greater", [0.9], 0.001, 0.7, "inconclusive"),
        ("greater", [-3], 1.0, 0.001, "refuted"),
        ("less", [-5], 0.001, 1.0, "supported"),
        ("less", [-0.5], 0.001, 0.01, "refuted"),
        ("trend", [-5], 0.001, 1.0, "supported"),
        ("fails", [5], 0.001, 1.0, "supported"),
        ("not_greater", [0.2], 0.001, 0.8, "supported"),
        ("not_greater", [0.2], 0.3, 0.8, "inconclusive"),
        ("not_greater", [5], 1.0, 0.001, "refuted"),
        ("not_greater", [5], 1.0, 0.06, "inconclusive"),
        ("not_greater", [-5], 0.001, 1.0, "supported"),
        ("equivalent", [0.2], 0.001, 0.8, "supported"),
        ("equivalent", [5], 1.0, 0.001, "refuted"),
        ("equivalent", [-5], 1.0, 0.001, "refuted"),
        ("crossover", [5, -5], 0.001, 1.0, "supported"),
        ("crossover", [5, -0.5], 0.001, 0.2, "inconclusive"),
        ("crossover", [5, 5], 1.0, 0.001, "refuted"),
    ],
)
def test_decisions(kind, effects, p_for, p_against, told):
    turned = aligned(claim(kind), [difference_of(effect) for effect in effects])
    verdict = decided(claim(kind), turned, p_for, p_against)
    assert verdict.verdict == told
    points_to = (
        p_for if matters(claim(kind), turned) != (kind in ("not_greater", "equivalent")) else p_against
    )
    assert verdict.p_adjusted == {"supported": p_for, "refuted": p_against}.get(told, points_to)
    assert math.isfinite(verdict.detectable) == (told == "inconclusive")


def test_equivalence_is_two_one_sided_tests():
    from statsmodels.stats.weightstats import ttost_ind

    a, b = np.array([5.0, 6.0, 7.5, 5.5]), np.array([6.0, 6.5, 7.0, 6.0, 5.0])
    for x, y in ((a, b), (b, a)):
        p_for, p_against = p_values(
            claim("equivalent", 3.0), aligned(claim("equivalent", 3.0), [welch(x, y, 0.0)])
        )
        assert p_for == pytest.approx(2 * ttost_ind(x, y, -3, 3, usevar="unequal")[0])
        assert p_against == 1  # the difference seen is below the margin


@pytest.mark.parametrize(("kind", "signs"), [("not_greater", [1]), ("equivalent", [1, -1])])
def test_absence_is_refuted_by_an_effect_beyond_the_margin(kind, signs):
    a, b = np.array([5.0, 6.0, 7.5, 5.5]), np.array([1.0, 2.0, 1.5])
    for sign in signs:
        of_absence = claim(kind, 3.0)
        p_for, p_against = p_values(of_absence, aligned(of_absence, [welch(sign * a, sign * b, 0.0)]))
        beyond = stats.ttest_ind(a - 3, b, equal_var=False, alternative="greater")
        assert (p_for, p_against) == (1, pytest.approx(2 * beyond.pvalue))


@pytest.mark.parametrize(("effect", "distance"), [(0.2, 0.8), (1.5, 0.5), (-3, 4)])
def test_a_claim_of_absence_waits_for_the_distance_from_its_margin(effect, distance):
    of_absence = claim("not_greater")
    seen = aligned(of_absence, [difference_of(effect)])
    assert unsettled(of_absence, seen)[1] == pytest.approx(distance)
    assert decided(of_absence, seen, 1.0, 1.0).seeds_needed == pytest.approx(
        seeds_needed(difference_of(0), distance, ALPHA), nan_ok=True
    )


def test_a_crossover_hangs_on_the_difference_that_is_shown_less_clearly():
    strong, weak = difference_of(9), difference_of(-2)
    p_for, p_against = p_values(claim("crossover"), aligned(claim("crossover"), [strong, weak]))
    assert p_for == pytest.approx(weak.p_below(0)) and p_against == 1
    assert p_values(claim("crossover"), aligned(claim("crossover"), [strong, strong]))[1] < 1e-3


def test_a_crossover_whose_absence_is_waited_for_is_planned_at_half_the_level():
    crossover = claim("crossover", 2.0)
    seen = aligned(crossover, [difference_of(0.5), difference_of(-0.7)])
    _, distance = unsettled(crossover, seen)
    needed = decided(crossover, seen, 1.0, 1.0).seeds_needed
    assert needed == seeds_needed(seen[0], distance, ALPHA / 2) > seeds_needed(seen[0], distance, ALPHA)
    there = aligned(crossover, [difference_of(2.5), difference_of(-9)])
    assert decided(crossover, there, 1.0, 1.0).seeds_needed == seeds_needed(there[0], 2.5, ALPHA)


@pytest.mark.parametrize(("seeds", "times"), [((3, 9), 2), ((4, 4), 2), ((5, 5), 1), ((20, 6), 1)])
def test_p_values_of_fewer_than_five_runs_are_doubled_before_they_are_adjusted(seeds, times):
    c = Contrast(1.0, np.ones(2), np.array(seeds))
    assert cautious(np.array([0.01, 0.7]), [c]).tolist() == [0.01 * times, min(1, 0.7 * times)]
    tall = Contrast(np.zeros(3), np.ones((3, 2)), np.array([(3, 9), (5, 5), seeds]))
    assert cautious(np.full((3, 2), 0.1), [tall])[:, 0].tolist() == [0.2, 0.1, 0.1 * times]


def test_adjusted_p_by_hand():
    # sorted: .001 .01 .02 .5 .6 1; of six hypotheses three can be true: multipliers 3 3 3 3 2 1
    pairs = np.array([(0.001, 1.0), (0.02, 0.6), (0.5, 0.01)])
    expected = [(0.003, 1.0), (0.06, 1.0), (1.0, 0.03)]
    assert np.allclose(adjust(pairs), expected)


PAIRS_OF_P = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=6).map(np.array)


@given(PAIRS_OF_P)
def test_adjusting_lies_between_the_raw_p_and_holms(pairs):
    from statsmodels.stats.multitest import multipletests

    holm = multipletests(pairs.ravel(), method="holm")[1].reshape(-1, 2)
    assert (adjust(pairs) >= pairs - 1e-12).all() and (adjust(pairs) <= holm + 1e-12).all()


@given(PAIRS_OF_P, st.permutations(range(6)))
def test_each_report_is_adjusted_by_itself_and_in_any_order(pairs, order):
    other = pairs[[i for i in order if i < len(pairs)]]
    both = adjust(np.stack([pairs, other]))
    assert np.array_equal(both[0], adjust(pairs)) and np.allclose(both[1], adjust(other))
    assert np.allclose(np.sort(both[0], axis=None), np.sort(both[1], axis=None))


# ------------------------------------------------------------------------------------------ coverage, false verdicts

REPORTS = 2000  # simulated, of each kind
NOT_MORE = 5 + 3 * math.sqrt(
    5 * 95 / REPORTS
)  # percent that err: 5, and three standard errors of that number
INTERVALS = 40_000
AT_LEAST, AT_MOST = (
    share + sign * 3 * math.sqrt(share * (100 - share) / INTERVALS) for share, sign in ((93, -1), (97, 1))
)


def claims_by_simulation(scenario, seeds, method, number):
    """Coverage of 95 % intervals and false reports in percent, over noisy, middle and quiet claims."""
    runs = coverage.reports(np.random.default_rng(0), scenario, seeds, number)
    p = [method(runs, pair) for pair in coverage.PAIRS.values()]
    return [(coverage.coverage(x), coverage.false_reports(x)) for x in p]


@pytest.mark.parametrize("seeds", coverage.SEEDS)
@pytest.mark.parametrize("scenario", [name for name in coverage.SCENARIOS if "diverge" not in name])
def test_intervals_cover_and_reports_do_not_err(scenario, seeds):
    for covered, false in claims_by_simulation(scenario, seeds, coverage.welch_p, INTERVALS):
        assert AT_LEAST <= covered <= AT_MOST
        assert false <= NOT_MORE


@pytest.mark.parametrize("seeds", coverage.SEEDS)
def test_intervals_are_safe_where_seeds_correlate_positively_only(seeds):
    covers = {
        r: coverage.coverage(coverage.correlated_p(seeds, r, INTERVALS, np.random.default_rng(0)))
        for r in (-0.5, 0, 0.3, 0.6)
    }
    assert AT_LEAST <= covers[0] <= AT_MOST < covers[0.3] < covers[0.6]
    assert 88 < covers[-0.5] < 94  # as the report says


@pytest.mark.parametrize("seeds", coverage.SEEDS)
def test_intervals_where_one_run_diverged(seeds):
    trained, guessing, without = coverage.one_diverged(seeds, INTERVALS, np.random.default_rng(0))
    assert min(trained, guessing) > 99  # far wider than need be
    assert AT_LEAST <= without <= AT_MOST


@pytest.mark.parametrize("arms", ["deviations 1 to 2", "heavy tails, 1 to 5"])
@pytest.mark.parametrize("kind", coverage.WEIGHTS)
def test_verdicts_of_every_kind_at_their_margin_are_false_in_half_of_five_percent(kind, arms):
    report, random = [coverage.Tested(kind, 1)] * coverage.CLAIMS, np.random.default_rng(0)
    *_, false = coverage.final(report, 5, REPORTS, random, coverage.ARMS_VARY[arms])
    assert 0.5 <= false <= 2.5 + 3 * math.sqrt(2.5 * 97.5 / REPORTS)


@pytest.mark.parametrize(
    ("kind", "truth"), [("not_greater", 0.99), ("equivalent", 0.99), ("crossover", (0, 9))]
)
def test_verdicts_beside_a_bound_are_false_as_rarely(kind, truth):
    report, random = [coverage.Tested(kind, truth)] * coverage.CLAIMS, np.random.default_rng(0)
    arms = coverage.Arms(coverage.NOISY if kind == "crossover" else coverage.VARIED)
    assert coverage.final(report, 5, REPORTS, random, arms)[2] <= 2.5 + 3 * math.sqrt(2.5 * 97.5 / REPORTS)


@pytest.mark.parametrize("kind", ["greater", "less", "fails", "trend"])
def test_where_any_difference_matters_reports_err_in_five_percent(kind):
    report = [coverage.Tested(kind, 0, margin=0)] * coverage.CLAIMS
    assert 2 <= coverage.final(report, 5, REPORTS, np.random.default_rng(0))[2] <= NOT_MORE


@pytest.mark.parametrize(
    ("arms", "seeds"),
    [(name, 5) for name in coverage.ARMS_VARY if "−" not in name]
    + [(name, 3) for name in ("deviations 1 to 10", "deviations 1 to 20")]
    + [(name, 10) for name in ("deviations 1 to 5", "one run diverged, 1 to 5")],
)
def test_a_whole_report_errs_in_at_most_five_percent(arms, seeds):
    report, random = coverage.of_suite("digits"), np.random.default_rng(0)
    assert coverage.final(report, seeds, REPORTS, random, coverage.ARMS_VARY[arms])[2] <= NOT_MORE


def test_one_sided_p_values_would_not_keep_the_level():
    report, random = coverage.of_suite("digits"), np.random.default_rng(0)
    assert (
        coverage.final(report, 5, REPORTS, random, coverage.ARMS_VARY["deviations 1 to 5"], True)[2]
        > NOT_MORE
    )


def test_an_effect_that_is_not_there_is_supported_in_half_of_five_percent():
    report, random = coverage.REPORTS["greater, 0"], np.random.default_rng(0)
    assert 1 <= coverage.final(report, 5, 1000, random, coverage.Arms(coverage.NOISY))[2] <= 4
    supported, refuted, false = coverage.final(report, 5, 1000, random)
    assert supported < 0.05 and false < 1 and refuted > 25  # the one seen must reach the margin, too


@pytest.mark.parametrize("kind", coverage.WEIGHTS)
def test_effects_of_twice_the_margin_are_found(kind):
    tested = coverage.Tested(kind, 2)
    told = coverage.final([tested] * coverage.CLAIMS, 10, 200, np.random.default_rng(0))
    assert told[tested.claim.of_absence] > 90 and told[2] == 0


@pytest.mark.parametrize(
    ("kind", "truth"), [("less", 1), ("trend", 3), ("crossover", (1, 2)), ("fails", 0.5)]
)
def test_simulated_arms_have_the_effects_that_are_claimed(kind, truth):
    tested = coverage.Tested(kind, truth)
    exact = coverage.Arms((1e-9,)).runs(np.random.default_rng(0), tested.means, 3, 1)
    turned, _ = coverage.read(tested, exact, np.ones(exact.shape, bool))
    assert [float(c.effect[0]) for c in turned] == pytest.approx(
        np.broadcast_to(truth, len(turned)), abs=1e-6
    )


@pytest.mark.parametrize("r", [-0.5, 0.5])
def test_simulated_seeds_correlate(r):
    odd, even, other = coverage.Arms((1, 2), correlation=r).runs(
        np.random.default_rng(0), np.zeros(3), 1, 40_000
    )[..., 0]
    assert np.corrcoef(odd, even)[0, 1] == pytest.approx(r, abs=0.02)
    assert np.corrcoef(odd, other)[0, 1] == pytest.approx(0.5, abs=0.02)
    assert (odd.std(), even.std()) == pytest.approx((1, 2), rel=0.02)


def test_moderated_variances_do_not_cover_where_arms_differ():
    noisy, _, quiet = claims_by_simulation("variances differ (2)", 5, coverage.moderated_p, 8000)
    assert noisy[0] < 93 and noisy[1] > 10 and quiet[0] > 97


def test_moderated_variances_by_hand():
    # trigamma(1) = pi^2 / 6: variances e^a and e^-a with 2 a^2 = 2 trigamma(1), of 2 degrees of freedom each, have a
    # prior of 2 degrees of freedom about their geometric mean, 1
    a = np.pi / np.sqrt(6)
    prior, freedom = coverage.fit_prior(np.exp([[a, -a]]), 2)
    assert (prior[0], freedom[0]) == (pytest.approx(1), pytest.approx(2))
    shrunk, freedom = coverage.moderated(np.exp([[a, -a]]), 2)
    assert shrunk[0] == pytest.approx((1 + np.exp([a, -a])) / 2) and freedom[0] == pytest.approx(4)


@given(PAIRS_OF_P, PAIRS_OF_P)
def test_a_part_of_a_family_is_never_judged_bolder_than_the_whole(part, others):
    alone = adjust(np.concatenate([part, np.ones_like(others)]))[: len(part)]
    whole = adjust(np.concatenate([part, others]))[: len(part)]
    assert (alone >= whole - 1e-12).all()


def test_powers_of_more_seeds_and_larger_effects_are_higher():
    random = np.random.default_rng(0)
    three, five = (coverage.power(seeds, 3, ALPHA, 2000, random) for seeds in (3, 5))
    assert 60 < three < 75 and five > 95


def runs_of(planned, errors):
    """A table of runs: errors by (shortcut, depth), the same for training and test. None stands for a run that
    diverged, NaN for one that is missing."""
    rows = [
        {
            "shortcut": shortcut,
            "depth": depth,
            "seed": seed,
            "status": "diverged" if error is None else "finished",
            "train_error": 90.0 if error is None else error,
            "test_error": 90.0 if error is None else error,
            "train_images": 1000,
            "test_images": 500,
        }
        for (shortcut, depth), values in errors.items()
        for seed, error in enumerate(values)
        if error is None or error == error
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def depth():
    return plan_study(Library(), "digits", "depth")


def test_verdicts_on_the_depth_study(depth):
    errors = {
        ("none", "20"): [5, 6, 7, 5, 7],
        ("none", "56"): [60, 70, 80, 60, 80],
        ("identity", "20"): [2, 2.1, 2.2, 2, 2.2],
        ("identity", "56"): [2, 2.1, 2, 2.1, 2.1],
    }
    plain, residual, better, crossed = judge([(depth, runs_of(depth, errors))], 4)
    assert [v.verdict for v in (plain, residual, better)] == ["supported"] * 3
    assert (crossed.verdict, crossed.effect_first, crossed.runs) == ("refuted", pytest.approx(64), 20)
    assert plain.correlation == pytest.approx(1) and math.isnan(plain.detectable)
    assert plain.effect == pytest.approx(64) and (plain.n_arm, plain.n_than) == (5, 5)
    assert all(v.p_adjusted >= v.p_for for v in (plain, residual, better))


def judged(depth, errors, columns=None, **changes):
    """The verdict on one claim of the depth study, changed like this, on runs with these columns besides."""
    raw = {
        **depth.study.claims["plain-networks-degrade-with-depth"].model_dump(exclude_none=True),
        "metric": "test_error",
        **changes,
    }
    claim = Claim.model_validate({key: value for key, value in raw.items() if value is not None})
    study = depth.study.model_copy(update={"claims": {"c": claim}})
    runs = runs_of(depth, errors).assign(**(columns or {}))
    (verdict,) = judge([(replace(depth, study=study), runs)], 1)
    return verdict


FOUR = {
    ("none", "20"): [5, 6, 7, 6],
    ("none", "56"): [60, 70, 80, 70],
    ("identity", "20"): [30, 31, 32, 33],
    ("identity", "56"): [2, 2.1, 2.3, 2.2],
    ("none", "8"): [4, 5, 5, 4],
    ("none", "32"): [40, 41, 42, 43],
}
CAUTION = 2  # of p values, since these are four runs an arm
LEVELS = ("8", "20", "32", "56")
PLAIN, RESIDUAL = {"shortcut": "none"}, {"shortcut": "identity"}


def test_less_is_greater_turned_round(depth):
    arm, than = {**RESIDUAL, "depth": 56}, {**PLAIN, "depth": 56}
    less = judged(depth, FOUR, kind="less", arm=arm, than=than)
    greater = judged(depth, FOUR, kind="greater", arm=than, than=arm)
    assert (less.verdict, less.p_for) == ("supported", greater.p_for)
    assert less.effect == -greater.effect < 0


def test_arms_of_a_group_weigh_the_same(depth):
    verdict = judged(
        depth,
        FOUR,
        arm={**PLAIN, "depth": [32, "56"]},
        than={"shortcut": ["none", "identity"], "depth": "20"},
    )
    assert verdict.effect == pytest.approx((41.5 + 70) / 2 - (6 + 31.5) / 2)
    assert (verdict.n_arm, verdict.n_than, verdict.verdict) == (8, 8, "supported")
    assert math.isnan(verdict.correlation)


def test_a_crossover_shows_both_differences(depth):
    changes = {"kind": "crossover", "arm": RESIDUAL, "than": PLAIN, "factor": "depth", "at": [20, 56]}
    crossed = judged(depth, FOUR, **changes)
    assert (crossed.effect_first, crossed.effect_second) == (pytest.approx(25.5), pytest.approx(-67.85))
    assert crossed.effect == pytest.approx(25.5 + 67.85) and crossed.verdict == "supported"
    for ending, depth_of in (("first", "20"), ("second", "56")):
        one = judged(depth, FOUR, arm={**RESIDUAL, "depth": depth_of}, than={**PLAIN, "depth": depth_of})
        assert getattr(crossed, f"low_{ending}") == one.low and getattr(crossed, f"high_{ending}") == one.high
    assert (crossed.n_arm, crossed.n_than, crossed.runs) == (4, 4, 16)
    assert (crossed.mean_arm, crossed.mean_than) == (pytest.approx((31.5 + 2.15) / 2), pytest.approx(38))
    assert math.isnan(crossed.correlation)
    fewer = judged(depth, FOUR | {("none", "20"): [5, 6, 7]}, **changes)
    assert (fewer.n_arm, fewer.n_than, fewer.runs) == (4, 3, 15)
    parallel = FOUR | {("identity", "56"): [99, 98, 97, 98]}
    assert judged(depth, parallel, **changes).verdict == "refuted"


def test_a_trend_runs_over_the_levels_in_their_order(depth):
    changes = {"kind": "trend", "arm": PLAIN, "than": None, "factor": "depth"}
    rises = judged(depth, FOUR, **changes, direction="rises")
    means = [4.5, 6, 41.5, 70]
    assert rises.effect == pytest.approx(3 * stats.linregress(range(4), means).slope)
    assert (rises.verdict, rises.mean_than, rises.mean_arm) == ("supported", 4.5, 70)
    assert rises.means == "4.5 6 41.5 70"
    assert judged(depth, FOUR, **changes, direction="falls").verdict == "refuted"


def test_a_trend_over_one_level_is_not_tested(depth):
    only = {key: arm for key, arm in depth.arms.items() if key[1] == "20"}
    changes = {"kind": "trend", "arm": PLAIN, "than": None, "factor": "depth", "direction": "rises"}
    verdict = judged(replace(depth, arms=only), FOUR, **changes)
    assert (verdict.verdict, verdict.reason) == (
        "not tested",
        "factor depth has only one level in this suite",
    )


def test_an_arm_fails_where_its_runs_are_above_the_threshold(depth):
    changes = {"kind": "fails", "arm": {**PLAIN, "depth": 56}, "than": None, "margin": 0}
    fails = judged(depth, FOUR, **changes, threshold=50.0)
    assert (fails.verdict, fails.effect, fails.n_arm, fails.n_than) == ("supported", 20, 4, 0)
    assert judged(depth, FOUR, **changes, threshold=95.0).verdict == "refuted"
    guessing = FOUR | {("none", "56"): [90.0] * 4}  # all diverged
    assert judged(depth, guessing, **changes, threshold=50.0).verdict == "supported"


def test_equivalence_is_shown_or_refuted(depth):
    changes = {"kind": "equivalent", "arm": {**PLAIN, "depth": 8}, "than": {**PLAIN, "depth": 20}}
    assert judged(depth, FOUR, **changes, margin=20).verdict == "supported"
    assert judged(depth, FOUR, **changes, margin=2).verdict == "inconclusive"
    assert judged(depth, FOUR | {("none", "8"): [30, 31, 30, 31]}, **changes, margin=2).verdict == "refuted"


def test_a_claim_without_runs_says_so(depth):
    errors = {("none", "20"): [5, 6], ("identity", "20"): [1, 2], ("identity", "56"): [1, 2]}
    plain, residual, *_ = judge([(depth, runs_of(depth, errors))], 4)
    assert (plain.verdict, plain.method) == ("not tested", "")
    assert plain.reason == (
        "2 runs of each arm are needed; missing: shortcut none, depth 56 (seeds 0 to 4); shortcut none, depth 20 "
        "(seeds 2 to 4)"
    )
    assert residual.verdict != "not tested" and (residual.runs, residual.planned) == (4, 10)


def test_a_suite_of_one_seed_tests_nothing(depth):
    verdict, *_ = judge(
        [(replace(depth, seeds=(0,)), runs_of(depth, {k: [v[0]] for k, v in FOUR.items()}))], 4
    )
    assert verdict.reason == "2 runs of each arm are needed; 1 planned"


def test_missing_runs_are_those_that_the_plan_has_and_the_table_has_not(depth):
    some = {(shortcut, level): [1, 2, 3, 4, 5] for shortcut in ("none", "identity") for level in LEVELS}
    assert missing(depth, runs_of(depth, some)) == []
    some[("none", "8")] = [1, math.nan, 3, math.nan, 5]
    del some[("identity", "56")]
    assert missing(depth, runs_of(depth, some)) == [
        ({"shortcut": "none", "depth": "8"}, [1, 3]),
        ({"shortcut": "identity", "depth": "56"}, [0, 1, 2, 3, 4]),
    ]


@settings(max_examples=25)
@given(st.data())
def test_what_is_missing_and_what_is_there_make_the_plan(data):
    planned = plan_study(Library(), "digits", "depth")
    whole = runs_of(planned, {key: [1.0] * len(planned.seeds) for key in planned.arms})
    kept = whole[data.draw(st.lists(st.booleans(), min_size=len(whole), max_size=len(whole)))]
    lacking = missing(planned, kept)
    lost = {(*levels.values(), seed) for levels, seeds in lacking for seed in seeds}
    there = set(kept[["shortcut", "depth", "seed"]].itertuples(index=False, name=None))
    assert not lost & there and len(lost | there) == len(whole)
    assert all(seeds == sorted(seeds) != [] for _, seeds in lacking)


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ([3], "seed 3"),
        ([0, 1], "seeds 0 and 1"),
        ([1, 2, 3], "seeds 1 to 3"),
        ([0, 2, 3], "seeds 0, 2 and 3"),
    ],
)
def test_seeds_in_words(seeds, told):
    assert listed_seeds(seeds) == told


def test_of_many_arms_without_runs_only_the_first_are_named():
    told = listed_arms([({"batch_size": str(n)}, [0]) for n in range(6)])
    assert told.startswith("batch size 0 (seed 0); ") and told.endswith(
        "batch size 3 (seed 0); and 2 more arms"
    )


def test_divergence_is_counted_by_arm(depth):
    errors = FOUR | {("none", "56"): [60, None, 80, 70], ("none", "20"): [None] * 4}
    verdict = judged(depth, errors)
    assert (verdict.runs, verdict.planned, verdict.diverged, verdict.partly_diverged) == (8, 10, 5, 1)
    whole = judged(depth, FOUR | {("none", "56"): [None] * 4})
    assert (whole.diverged, whole.partly_diverged, whole.mean_arm) == (4, 0, 90)
    assert math.isnan(whole.effect_trained) and whole.verdict == "supported"


def test_the_effect_counts_diverged_runs_as_guessing_and_is_told_without_them_too(depth):
    verdict = judged(depth, FOUR | {("none", "56"): [60, None, 80, 70]})
    assert (verdict.effect, verdict.effect_trained) == (pytest.approx(75 - 6), pytest.approx(70 - 6))
    trained = contrast([np.array([60.0, 80, 70]), np.array([5.0, 6, 7, 6])], [1, -1], 0.1)
    assert (verdict.low_trained, verdict.high_trained) == pytest.approx(trained.interval)


@pytest.mark.parametrize(
    ("diverging", "told", "reason"),
    [
        ([60, None, 80, 70], "supported", ""),  # both ways
        ([20, None, 21, 22], "inconclusive", "inconclusive with its diverged runs, without them supported"),
        ([None, None, None, 80], "inconclusive", "supported with its diverged runs, without them fewer than 2 of an arm are left"),
        ([None, 8, 60, 7, 6], "inconclusive", ""),  # neither way
        ([None, None, None, None, 8, 80], "inconclusive", "supported with its diverged runs, without them inconclusive"),
        ([None, None, None, 89.9], "supported", ""),  # the fourth ends at guessing: all failed
    ],
)  # fmt: skip
def test_a_verdict_holds_with_and_without_runs_that_diverged_apart(depth, diverging, told, reason):
    verdict = judged(depth, FOUR | {("none", "56"): diverging})
    assert (verdict.verdict, verdict.reason) == (told, reason)
    assert (verdict.partly_diverged == 0) == (89.9 in diverging)
    too_few = "fewer" in reason
    assert math.isnan(verdict.detectable) == (told != "inconclusive" or too_few)


def test_readings_that_contradict_each_other_settle_nothing(depth):
    # 3 of 4 diverged in the arm that is better where it trains
    errors = FOUR | {("none", "56"): [None] * 8 + [1, 1, 1.1], ("none", "20"): [30, 31, 30, 31]}
    verdict = judged(depth, errors)
    assert verdict.reason == "supported with its diverged runs, without them refuted"
    assert verdict.verdict == "inconclusive" and math.isnan(verdict.detectable)


def test_claims_without_diverged_runs_are_read_once(depth):
    errors = {**FOUR, ("identity", "56"): [2, 2.1, None, 2.2]}
    read = judge([(depth, runs_of(depth, errors))], 4)
    alone = judge([(depth, runs_of(depth, FOUR))], 4)
    assert (read[0].p, read[0].verdict) == (alone[0].p, alone[0].verdict) == (read[0].p_for, "supported")
    assert [v.partly_diverged for v in read] == [0, 1, 1, 1]


@given(
    st.sampled_from(["supported", "refuted", "inconclusive"]),
    st.sampled_from(["supported", "refuted", "inconclusive"]),
)
def test_two_readings_give_a_verdict_only_where_they_agree(first, second):
    assert agreed(first, second) == agreed(second, first)
    assert agreed(first, second) == (first if first == second else "inconclusive")


def test_the_middle_levels_of_a_trend_count_too(depth):
    changes = {"kind": "trend", "arm": PLAIN, "than": None, "factor": "depth", "direction": "rises"}
    verdict = judged(depth, FOUR | {("none", "32"): [40, None, 42]}, **changes)
    assert (verdict.runs, verdict.planned, verdict.n_arm, verdict.partly_diverged) == (15, 20, 4, 1)


def test_methods_are_those_of_the_kinds():
    assert METHODS.keys() == KINDS_OF_CLAIM.keys()


def test_p_is_that_of_the_test_that_decided(depth):
    rises = judged(depth, FOUR)
    assert (rises.p, rises.p_adjusted, rises.method) == (rises.p_for, CAUTION * rises.p_for, "Welch's t")
    falls = judged(depth, FOUR, kind="less")
    assert (falls.verdict, falls.p) == ("refuted", falls.p_against)
    assert (rises.against, falls.against) == (NONE, MATTERS)


@pytest.mark.parametrize(
    ("margin", "method", "against"),
    [(100, "Welch's t, two one-sided", MATTERS), (1, "Welch's t", SMALL)],
)
def test_a_verdict_tells_the_test_that_was_done_and_what_it_is_against(depth, margin, method, against):
    verdict = judged(depth, FOUR, kind="equivalent", margin=margin)
    assert (verdict.method, verdict.against) == (method, against)


def test_levels_that_are_one_in_this_suite_are_not_compared(depth):
    than_itself = judged(depth, FOUR, arm={**PLAIN, "depth": "last"}, than={**PLAIN, "depth": 56})
    assert than_itself.reason == "`arm` and `than` are the same arm in this suite, or share one"
    crossed = {"kind": "crossover", "arm": RESIDUAL, "than": PLAIN, "factor": "depth", "at": ["last", 56]}
    assert judged(depth, FOUR, **crossed).reason == "the two levels of depth are the same in this suite"


# ------------------------------------------------------------------------------------------ other metrics


@pytest.mark.parametrize(
    ("kind", "than", "margin", "told"),
    [
        ("greater", 90, 0, "supported"),
        ("greater", 90, 10, "supported"),
        ("greater", 90, 11, "refuted"),
        ("greater", 100, 0, "refuted"),
        ("greater", 110, 0, "refuted"),
        ("less", 110, 10, "supported"),
        ("not_greater", 90, 10, "refuted"),
        ("not_greater", 91, 10, "supported"),
        ("equivalent", 91, 10, "supported"),
        ("equivalent", 110, 10, "refuted"),
    ],
)
def test_numbers_that_seeds_do_not_change_are_compared(depth, kind, than, margin, told):
    counts = {"parameters": lambda runs: np.where(runs["depth"] == "56", 100, than)}
    verdict = judged(depth, FOUR, counts, metric="parameters", kind=kind, margin=margin)
    assert (verdict.verdict, verdict.method) == (told, "exact")
    assert verdict.low == verdict.effect == verdict.high == 100 - than and verdict.p_adjusted == 0


@given(st.integers(-20, 20), st.integers(0, 20), st.sampled_from(["greater", "less", "not_greater"]))
def test_a_count_is_never_inconclusive(effect, margin, kind):
    counted = claim(kind, margin, metric="macs")
    turned = aligned(counted, [difference_of(effect)])
    assert not Comparison(counted, Verdict("study", "claim", ""), turned).in_family
    p = p_values(counted, turned)
    upwards = -effect if kind == "less" else effect
    there = upwards >= margin and upwards > 0
    assert set(p) <= {0, 1}
    assert decided(counted, turned, *p).verdict == (
        "supported" if there != (kind == "not_greater") else "refuted"
    )


def test_claims_of_the_family_that_are_not_here_count_as_not_rejected(depth):
    runs = runs_of(depth, FOUR)
    (alone,), (one_of_ten,) = (
        judge([(depth_with(depth, "residual-networks-beat-plain-ones"), runs)], family) for family in (1, 10)
    )
    assert one_of_ten.p_adjusted == pytest.approx(10 * alone.p_adjusted) and alone.p == one_of_ten.p
    errors = {key: values for key, values in FOUR.items() if key != ("identity", "20")}
    partly = judge([(depth, runs_of(depth, errors))], 4)
    assert [v.verdict for v in partly].count("not tested") == 2
    assert partly[0].p_adjusted == pytest.approx(4 * CAUTION * partly[0].p)


def test_the_family_is_that_of_the_suite_in_every_report_of_it():
    plan = make_plan(Library(), "digits")
    claims = [plan.study(study).study.claims for study in plan.listed]
    assert family(plan, "report") == sum(map(len, claims)) > 20
    assert {family(plan, name) for name in ("depth", "depth-tuned", "growth_rate")} == {
        family(plan, "report")
    }
    assert "width" not in plan.listed and family(plan, "width") == len(plan.study("width").study.claims)


def test_counts_are_not_in_the_family():
    plan = make_plan(Library(), "digits")
    (counted, *others) = plan.family("report")
    counts = SimpleNamespace(family=lambda name: [counted.model_copy(update={"metric": "macs"}), *others])
    assert family(counts, "report") == family(plan, "report") - 1


def test_counts_cost_other_claims_no_power(depth):
    runs = runs_of(depth, FOUR).assign(parameters=100)
    (alone,) = judge([(depth_with(depth, "plain-networks-degrade-with-depth"), runs)], 1)
    both = depth_with(depth, "plain-networks-degrade-with-depth", "residual-networks-do-not-degrade")
    counted = both.study.claims["residual-networks-do-not-degrade"].model_copy(
        update={"metric": "parameters"}
    )
    study = both.study.model_copy(
        update={"claims": {**both.study.claims, "residual-networks-do-not-degrade": counted}}
    )
    tested, exact = judge([(replace(both, study=study), runs)], 1)
    assert tested == alone and exact.verdict == "supported"


def depth_with(planned, *names):
    """The study with these claims only."""
    claims = {name: planned.study.claims[name] for name in names}
    return replace(planned, study=planned.study.model_copy(update={"claims": claims}))


def test_runs_without_the_metric_are_told(depth):
    errors = FOUR | {("none", "56"): [60, None, 80, None]}
    gap = {"gap": lambda runs: runs["test_error"].where(runs["status"] == "finished")}
    verdict = judged(depth, errors, gap, metric="gap")
    assert verdict.reason == "2 of 8 runs have no test minus training error (diverged)"
    infinite = {"gradient_norm": lambda runs: np.where(runs["seed"] == 0, np.inf, 1.0)}
    verdict = judged(depth, FOUR, infinite, metric="gradient_norm")
    assert (verdict.verdict, verdict.reason) == ("not tested", "2 of 8 runs have no gradient norm")


def test_a_gap_is_judged_like_an_error(depth):
    columns = {"gap": lambda runs: runs["test_error"] / 2}
    verdict = judged(depth, FOUR, columns, metric="gap")
    assert (verdict.verdict, verdict.effect) == ("supported", pytest.approx(32))


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
    verdicts = judge([(smaller, runs_of(smaller, {("none", "20"): [5, 6]}))], 4)
    assert all(v.verdict == "not tested" and "no level `56`" in v.reason for v in verdicts)


def test_resolution_is_the_smallest_step_of_a_metric():
    runs = pd.DataFrame(
        {"train_images": [1000, 1000], "validation_images": [100, 100], "test_images": [500, 500]}
    )
    assert resolution(runs, "test_error") == 0.2
    assert resolution(runs, "gap") == pytest.approx(math.hypot(0.1, 0.2))  # variances of rounding add up
    assert resolution(runs, "epochs_trained") == 1
    assert all(resolution(runs, metric) > 0 for metric in METRICS)


@pytest.mark.parametrize(
    ("execution", "told"),
    [("CUDA graph", "supported"), ("eager: stochastic depth draws on the processor", "not tested")],
)
@pytest.mark.parametrize("metric", sorted(MEASURED_ON_THE_MACHINE))
def test_times_are_compared_only_where_they_were_executed_in_the_same_way(metric, execution, told):
    planned = plan_study(Library(), "digits", "regularisation")
    claim = planned.study.claims["stochastic-depth-saves-time"]
    rows = []
    for levels, speed, how in ((claim.arm, 200.0, execution), (claim.than, 100.0, "CUDA graph")):
        (key,) = planned.select(levels)
        for seed in range(3):
            where = {"device": "a GPU", "threads": 1, "execution": how, "at_once": 3}
            rows.append({**planned.levels(key), "seed": seed, metric: speed + seed, **where})
    timed = claim.model_copy(update={"metric": metric})
    study = planned.study.model_copy(update={"claims": {"timed": timed}})
    runs = pd.DataFrame(rows).assign(status="finished")
    (verdict,) = judge([(replace(planned, study=study), runs)], 1)
    assert verdict.verdict == told
    if told == "not tested":
        metric_in_words = METRICS[metric].partition(" (")[0]
        start = f"{metric_in_words} of runs executed differently: a GPU, 1, eager: stochastic depth"
        assert verdict.reason.startswith(start)


# ------------------------------------------------------------------------------------------ beside Welch's test

SIX = {key: [*values, *(value + 0.5 for value in values[:2])] for key, values in FOUR.items()}


def test_permutations_and_the_bootstrap_are_told_from_six_runs_of_each_arm_on(depth):
    five = judged(depth, SIX | {("none", "20"): [5, 6, 7, 6, 5]})
    six = judged(depth, SIX)
    assert math.isnan(five.p_permuted) and math.isnan(five.bca_low)
    assert six.p_permuted == 2 / math.comb(12, 6)  # the arms do not overlap
    assert six.low < six.bca_low < six.effect < six.bca_high < six.high
    assert (six.p, six.p_adjusted) == (six.p_for, six.p_for)


def test_the_permutation_test_is_against_the_hypothesis_that_p_is_against(depth):
    for changes in ({"kind": "less"}, {"kind": "not_greater", "margin": 1}, {"margin": 100}):
        verdict = judged(depth, SIX, **changes)
        assert verdict.verdict == "refuted" and verdict.p_permuted == 2 / math.comb(12, 6)
    near = judged(depth, SIX, margin=float(judged(depth, SIX).effect))
    assert near.verdict == "supported" and near.p_permuted == 2 / math.comb(12, 6)  # against no effect


def test_every_kind_has_a_permutation_test_and_a_bootstrap(depth):
    crossover = {"kind": "crossover", "arm": RESIDUAL, "than": PLAIN, "factor": "depth", "at": [20, 56]}
    trend = {"kind": "trend", "arm": PLAIN, "than": None, "factor": "depth", "direction": "rises"}
    fails = {"kind": "fails", "arm": {**PLAIN, "depth": 56}, "than": None, "margin": 0, "threshold": 50.0}
    for changes, least in ((crossover, 2 / math.comb(12, 6)), (trend, 2 / 5000), (fails, 2 / 2**6)):
        verdict = judged(depth, SIX, **changes)
        assert verdict.verdict == "supported" and verdict.p_permuted == pytest.approx(least)
        assert verdict.low < verdict.bca_low < verdict.effect < verdict.bca_high < verdict.high


def test_counts_are_not_resampled(depth):
    verdict = judged(depth, SIX, {"parameters": 100}, metric="parameters")
    assert math.isnan(verdict.p_permuted) and math.isnan(verdict.bca_low)
