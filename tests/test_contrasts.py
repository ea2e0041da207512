"""Weighted sums of arms' means: against scipy, statsmodels and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ablations.contrasts import (
    Contrast,
    binomial_interval,
    contrast,
    detectable,
    linear_weights,
    mean_interval,
    seeds_needed,
)


def welch(a, b, resolution):
    return contrast([a, b], [1, -1], resolution)


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


def test_a_trend_is_the_straight_line_over_the_levels():
    assert linear_weights(2) == pytest.approx([-1, 1])
    means = np.array([3.0, 5.0, 4.0, 9.0])
    line = stats.linregress(np.arange(4), means)
    assert linear_weights(4) @ means == pytest.approx(3 * line.slope)


def difference_of(effect, variance=1.0, seeds=5):
    return Contrast(effect, np.array([variance, variance]), np.array([seeds, seeds]))


def test_contrast_by_hand():
    # means 2 and 5, variances 1 and 4, 3 and 4 seeds: error^2 = 1/3 + 1; freedom = (4/3)^2 / (1/18 + 1/3)
    c = welch(np.array([1.0, 2.0, 3.0]), np.array([2.5, 7.0, 6.0, 4.5]), 0.0)
    variance = np.var([2.5, 7.0, 6.0, 4.5], ddof=1) / 4
    assert c.effect == pytest.approx(-3)
    assert c.error**2 == pytest.approx(1 / 3 + variance)
    assert c.freedom == pytest.approx((1 / 3 + variance) ** 2 / ((1 / 3) ** 2 / 2 + variance**2 / 3))


@pytest.mark.parametrize("level", [0.05, 0.02])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_what_is_detectable_agrees_with_statsmodels(seeds, level):
    from statsmodels.stats.power import TTestIndPower

    c = difference_of(1.0, variance=4.0, seeds=seeds)
    # equal variances: Welch's degrees of freedom are those of the pooled test
    power = TTestIndPower().power(detectable(c, level) / 2, seeds, level)
    assert power == pytest.approx(0.8, abs=1e-3)
    needed = int(seeds_needed(c, 1.5, level))
    of = [TTestIndPower().power(1.5 / 2, n, level) for n in (needed - 1, needed)]
    assert of[0] < 0.8 <= of[1]


def test_no_number_of_seeds_is_told_beyond_a_thousand():
    assert math.isnan(seeds_needed(difference_of(1.0), 0.001, 0.05))


def test_wilsons_interval_of_an_error():
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(36, 360, method="wilson")
    assert binomial_interval(10.0, 360) == pytest.approx((100 * low, 100 * high))
