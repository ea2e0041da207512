"""Methods in words: what studies share, what each has of its own, a phrase for every field."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from ablations.config import Library, Recipe
from ablations.methods import methods
from ablations.networks import FAMILIES
from ablations.phrases import PHRASES, described, phrase
from ablations.plan import make_plan

PLAN = make_plan(Library(), "digits")
SIZES = pd.DataFrame([{"train_images": 1256, "validation_images": 60, "test_images": 120}])
FIELDS = {name for kind in (Recipe, *FAMILIES.values()) for name in kind.model_fields}


def told(*names):
    studies = [PLAN.study(name) for name in names]
    found = methods(studies, {name: SIZES for name in names})
    return found["common"], [each["text"] for each in found["studies"]]


def test_every_field_has_a_phrase_and_no_phrase_is_of_none():
    assert PHRASES.keys() - {"data"} == FIELDS


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("model.depth", 20, "20 layers"),
        ("model.widths", (8, 16, 32), "stages of 8, 16 and 32 channels"),
        ("recipe.flip", False, "no flips"),
        ("recipe.crop_padding", 0, "no random crops"),
        ("recipe.crop_padding", 4, "random crops after padding by 4 pixels"),
        ("model.block", "B(3,1)", "blocks B(3,1)"),
        ("recipe.learning_rate", 0.0015625, "learning rate 0.0015625"),
        ("model.stem_width", None, ""),
    ],
)
def test_a_field_in_words(field, value, expected):
    assert phrase(field, value) == expected


def test_what_is_not_worth_saying_leaves_no_gap():
    assert described({"model.tied": False, "model.depth": 8, "model.weights": "direct"}) == "8 layers"


def test_what_most_studies_share_is_told_once_and_only_what_differs_with_each():
    common, (depth, orders, growth) = told("depth", "batch_norm", "growth_rate")
    assert (
        common.startswith("Noisy handwritten digits, 8x8")
        and "1,256 training, 60 validation and 120 test" in common
    )
    assert common.endswith("2 epochs of linear warm-up, no random crops, no flips, 32-bit floating point.")
    assert (
        depth
        == "Handwritten digits, 8x8 (scikit-learn), 1,256 training, 60 validation and 120 test images; batches of 64. 8 arms, seeds 0 to 4."
    )
    assert (
        "batches" not in orders
        and "10 arms, seeds 0 to 4. Order: *none*: no norm; *post*: a norm after" in orders
    )
    assert growth.startswith("Densely connected networks, 16 layers. 7 arms")


def test_a_single_study_tells_all_of_it():
    common, (text,) = told("depth")
    assert common == "" and "; residual networks, blocks of two 3x3 convolutions, batch norm," in text


def test_a_field_that_some_levels_set_is_told_as_the_others_have_it():
    """Not by the first arm, which may be the one without."""
    _, (orders,) = told("batch_norm")
    assert "batch norm, a norm after each convolution and a ReLU after the addition, stages of" in orders
    _, (kinds,) = told("growth_rate")
    assert (
        "growth rate 4" not in kinds
        and "*ResNet*: residual networks, 20 layers, stages of 11, 22 and 44" in kinds
    )


@pytest.mark.parametrize("name", sorted(PLAN.studies))
def test_no_study_shows_the_name_of_a_field(name):
    _, (text,) = told(name)
    assert "_" not in text and ": ;" not in text


@pytest.mark.parametrize(
    ("shortcuts", "expected"),
    [
        ((), ""),
        (
            ("none",),
            "again: shortcut none, depth 8; shortcut none, depth 20; shortcut none, depth 32; shortcut none, depth 56.",
        ),
        (("none", "identity"), "again: all arms."),
    ],
)
def test_arms_that_were_not_trained_deterministically_are_named(shortcuts, expected):
    planned = PLAN.study("depth")
    quick = {
        key: replace(arm, recipe=arm.recipe.model_copy(update={"deterministic": key[0] not in shortcuts}))
        for key, arm in planned.arms.items()
    }
    text = methods([replace(planned, arms=quick)], {"depth": SIZES})["studies"][0]["text"]
    assert text.endswith(expected or "8 arms, seeds 0 to 4.")
    assert text.count("deterministic") == bool(expected)
