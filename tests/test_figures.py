"""Figures from made-up runs: what stands on the axes and in the legend, and the data behind."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ablations import figures
from ablations.config import Library
from ablations.plan import plan_study


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def made_up(planned, seeds=3):
    """A table of runs for a planned study."""
    random = np.random.default_rng(0)
    rows = [
        {"network": "net", **planned.levels(key), "seed": seed, "run": f"{number}-{seed}"}
        | {
            "macs": 1e6 * (number + 1),
            "parameters": 1e5 * (number + 1),
            "test_images": 100,
            "train_images": 100,
        }
        for (number, key), seed in itertools.product(enumerate(planned.arms), range(seeds))
    ]
    runs = pd.DataFrame(rows)
    for metric in ("train_error", "test_error", "sparsity", "images_per_second"):
        runs[metric] = random.uniform(1, 40, len(runs))
    for name, factor in planned.factors.items():
        labels = [level.label for level in factor.levels]
        runs[name] = pd.Categorical(runs[name], labels, ordered=True)
    return runs


def drawn(study, name):
    planned = plan_study(Library(), "digits", study)
    figure = planned.study.figures[name]
    behind = figures.KINDS[figure.kind](planned, figure, made_up(planned), pd.DataFrame())
    return plt.gcf(), behind


def test_levels_that_are_numbers_stand_along_an_axis_with_means_joined():
    figure, behind = drawn("depth", "error-by-depth")
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["8", "20", "32", "56"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["none", "identity"]
    assert figure.legends[0].get_title().get_text() == "shortcut"
    assert (
        list(behind.columns) == ["depth", "shortcut", "seed", "train_error", "test_error"]
        and len(behind) == 24
    )


def test_levels_that_are_words_stand_below_each_other():
    figure, _ = drawn("regularisation", "error-by-method")
    labels = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["none", "dropout 0.3"] and figure.axes[0].yaxis_inverted()
    assert not figure.legends  # one colour: the labels say it all


def test_a_level_none_among_numbers_leaves_the_axis():
    figure, _ = drawn("growth_rate", "error-by-growth-rate")
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["4", "8", "12", "none"]


def test_arms_of_a_single_factor_are_named_beside_their_costs():
    figure, _ = drawn("cardinality", "error-by-cost")
    assert {"1", "deeper, 2x MACs"} <= {text.get_text() for text in figure.axes[0].texts}
    assert not figure.legends and figure.axes[0].get_xscale() == "log"


def test_an_axis_of_errors_shows_at_least_a_percent(monkeypatch):
    planned = plan_study(Library(), "digits", "depth")
    runs = made_up(planned).assign(train_error=0.0)
    figures.draw_levels(planned, planned.study.figures["error-by-depth"], runs, pd.DataFrame())
    assert plt.gcf().axes[0].get_ylim()[1] >= 1
