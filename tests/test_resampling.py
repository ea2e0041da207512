"""Permutation tests and bootstrap intervals beside Welch's test: against counting by hand and scipy's own."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.contrasts import contrast
from ablations.resampling import FEWEST, Permuted, bca_interval


def permuted(samples, weights):
    def t(*resampled, axis):
        c = contrast(resampled, weights, 0.01)
        return c.effect / c.error

    return Permuted([np.array(sample, float) for sample in samples], np.array(weights, float), t)


def test_two_arms_are_told_apart_by_all_ways_to_deal_their_runs():
    a, b = np.array([3.0, 4, 8]), np.array([1.0, 2, 5, 4])
    runs, of_a = np.concatenate([a, b]), range(len(a))
    dealt = list(itertools.combinations(range(7), 3))

    def t(chosen):
        rest = [i for i in range(7) if i not in chosen]
        c = contrast([runs[list(chosen)], runs[rest]], (1, -1), 0.01)
        return c.effect / c.error

    as_far = sum(t(chosen) >= t(tuple(of_a)) - 1e-9 for chosen in dealt)
    assert permuted((a, b), (1, -1)).p_above(0) == pytest.approx(2 * as_far / len(dealt))


def test_one_arm_is_tested_by_its_signs():
    test = permuted([[1.0, 2, 3, 4, 5, -0.5]], [1])
    # only the sign of the least run can change and leave the mean as far from 0
    assert test.p_above(0) == 2 * 2 / 2**6
    assert (
        permuted([np.arange(1.0, FEWEST + 1)], [1]).p_above(0) == 2 / 2**FEWEST < 0.05 < 2 / 2 ** (FEWEST - 1)
    )


@settings(max_examples=20)
@given(
    st.lists(st.integers(0, 50), min_size=3, max_size=4),
    st.lists(st.integers(0, 50), min_size=3, max_size=4),
    st.integers(-9, 9),
)
def test_a_bound_moves_the_arms_and_directions_mirror(a, b, bound):
    test, mirrored = permuted((a, b), (1, -1)), permuted((b, a), (1, -1))
    moved = permuted((np.array(a) - bound, b), (1, -1))
    assert test.p_above(bound) == pytest.approx(moved.p_above(0))
    assert test.p_below(bound) == pytest.approx(mirrored.p_above(-bound))
    assert 0 < test.p_above(bound) <= 1


def test_drawn_permutations_are_the_same_each_time_and_near_welchs():
    random = np.random.default_rng(0)
    arms = [random.normal(mean, 1, 10) for mean in (0.8, 0)]
    test = permuted(arms, (1, -1))
    assert (
        test.p_above(0) == test.p_above(0) == pytest.approx(contrast(arms, (1, -1), 0).p_above(0), abs=0.02)
    )


def test_the_bootstrap_is_scipys():
    random = np.random.default_rng(0)
    a, b = random.exponential(1, 12), random.exponential(1, 8)

    def difference(x, y, axis):
        return x.mean(axis) - y.mean(axis)

    theirs = stats.bootstrap((a, b), difference, method="BCa", n_resamples=20_000, rng=1).confidence_interval
    assert bca_interval((a, b), (1, -1)) == pytest.approx((theirs.low, theirs.high), abs=0.05)
    low, high = bca_interval((a, b), (2, -2))
    assert (low / 2, high / 2) == pytest.approx(bca_interval((a, b), (1, -1)))


def test_without_spread_there_is_nothing_to_bootstrap():
    assert all(map(math.isnan, bca_interval((np.ones(6), np.zeros(6)), (1, -1))))
    low, high = bca_interval((np.ones(6), np.arange(6.0)), (1, -1))
    assert -4 < low < high < 1
