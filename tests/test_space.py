"""The space of a search: what its YAML may say, and that what is suggested lies in it. Nothing is trained."""

from __future__ import annotations

import math

import optuna
import pytest
from conftest import ROOT, write
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.cli import main
from ablations.config import Library, Search
from ablations.errors import UserError
from ablations.plan import make_plan
from ablations.search.trials import own_settings, suggest
from ablations.space import Choice, Range, parse

DEPTH = (ROOT / "ablations" / "studies" / "depth.yaml").read_text().partition("search:")[0]
SUITE = """
title: tiny
data: digits-small
seeds: 2
recipe: {epochs: 4, batch_size: 64, learning_rate: 0.05}
studies: {depth: {levels: {depth: [8]}}}
"""


def folder(where, search=None, suite=SUITE):
    """Definitions with the study `depth` and its search, as YAML."""
    text = DEPTH + (f"search: {search}\n" if search is not None else "")
    write(where / "my" / "studies" / "depth.yaml", text)
    write(where / "my" / "suites" / "tiny.yaml", suite)
    return where / "my"


def planned(where, search=None, suite=SUITE):
    return make_plan(Library(folder(where, search, suite)), "tiny").study("depth")


# ------------------------------------------------------------------------------------------ what is suggested


numbers = st.one_of(st.integers(-50, 50), st.floats(-50, 50).map(lambda value: round(value, 3)))


@st.composite
def ranges(draw):
    """Ranges of every kind, the conditions left out."""
    kind = draw(st.sampled_from(["plain", "log", "step"]))
    low, high = sorted(draw(st.lists(numbers, min_size=2, max_size=2, unique_by=float)))
    if kind == "log":
        low, high = sorted((abs(low) + 1, abs(low) + 1 + (high - low)))
    step = None
    if kind == "step":
        step = draw(st.integers(1, 5)) if isinstance(low, int) and isinstance(high, int) else 0.25
        high = round(low + draw(st.integers(1, 20)) * step, 3)  # as somebody would write it
    return Range(low=low, high=high, log=kind == "log", step=step)


scalars = st.one_of(st.booleans(), st.integers(-5, 5), st.floats(-5, 5), st.text(max_size=4))
choices = st.lists(scalars, min_size=2, max_size=5, unique_by=lambda value: value).map(
    lambda values: Choice(choices=tuple(values))
)
FIELDS = ("recipe.learning_rate", "recipe.weight_decay", "recipe.mixup", "model.dropout")


@given(st.lists(ranges() | choices, min_size=1, max_size=4), st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_every_suggested_value_is_one_of_its_dimension(dimensions, seed):
    space = dict(zip(FIELDS, dimensions, strict=False))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found = suggest(study.ask(), None, Search.model_construct(space=space))
    assert list(found) == list(space)
    for path, value in found.items():
        dimension = space[path]
        assert dimension.has(value)
        if isinstance(dimension, Range):
            assert dimension.low <= value <= dimension.high
            assert isinstance(value, int) == dimension.whole
            if dimension.step:
                assert math.isclose((value - dimension.low) / dimension.step % 1, 0, abs_tol=1e-6) or (
                    math.isclose((value - dimension.low) / dimension.step % 1, 1, abs_tol=1e-6)
                )


@given(ranges())
@settings(max_examples=100, deadline=None)
def test_a_range_has_its_ends_and_nothing_beyond_them(dimension):
    assert all(map(dimension.has, dimension.ends))
    assert not dimension.has(dimension.low - 1) and not dimension.has(dimension.high + 1)
    assert not dimension.has(True) and not dimension.has("1") and not dimension.has(None)
    if dimension.whole:
        assert not dimension.has(dimension.low + 0.5)


@pytest.mark.parametrize("high", [0.8, 0.7000000000000001])
def test_a_range_of_steps_ends_with_one(high):
    with pytest.raises(ValueError, match="`high` is `low` and some steps"):
        Range(low=0.1, high=high, step=0.2)


def test_a_range_of_steps_has_only_these():
    quarters = Range(low=0.1, high=0.7, step=0.2)
    assert [value for value in (0.1, 0.2, 0.3, 0.5, 0.6, 0.7) if quarters.has(value)] == [0.1, 0.3, 0.5, 0.7]


def test_numbers_are_equal_whether_they_are_written_with_a_point_but_no_number_is_true():
    assert Range(low=0, high=4).has(2.0) and Choice(choices=(0, 2)).has(2.0)
    assert not Choice(choices=(0, 2)).has(False)
    assert Choice(choices=(False, True)).has(True) and not Choice(choices=(False, True)).has(1)


def test_a_field_that_takes_fractions_is_searched_between_whole_numbers_too():
    assert not parse({"low": 0, "high": 1}, fractions=True).whole
    assert parse({"low": 0, "high": 1, "step": 0.1}, fractions=True).has(0.3)
    assert parse({"low": 16, "high": 64}, fractions=False).whole


EVERYTHING = """
  trials: 6
  space:
    optimiser: [sgd, adam]
    learning_rate: {low: 0.001, high: 1, log: true}
    weight_decay: {low: 1e-5, high: 1e-2, log: true}
    batch_size: {low: 16, high: 64, step: 16}
    momentum: {low: 0.5, high: 0.95, when: {optimiser: sgd}}
    dropout: {low: 0, high: 0.5, step: 0.1}
    rand_augment: {low: 0, high: 2}
    rand_augment_magnitude: {low: 1, high: 30, when: {rand_augment: [1, 2]}}
    recipe.warmup: {low: 0, high: 3}
    model.norm: [batch, group]
    groups: {choices: [2, 4], when: {model.norm: group, shortcut: [identity]}}
"""


def test_any_field_of_recipe_and_model_can_be_searched_by_its_name_or_path(tmp_path):
    study = planned(tmp_path, EVERYTHING)
    space = study.search.space
    assert list(space) == [
        *("recipe.optimiser", "recipe.learning_rate", "recipe.weight_decay", "recipe.batch_size"),
        *("recipe.momentum", "model.dropout", "recipe.rand_augment", "recipe.rand_augment_magnitude"),
        *("recipe.warmup", "model.norm", "model.groups"),
    ]
    assert space["recipe.batch_size"].whole and not space["recipe.warmup"].whole
    assert not space["model.dropout"].whole
    assert space["model.groups"].when == {"model.norm": "group", "model.shortcut": ["identity"]}


@given(st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_conditional_dimension_is_asked_exactly_where_its_condition_holds(tmp_path_factory, seed):
    arms = everything(tmp_path_factory)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for key, arm in arms.arms.items():
        found = suggest(study.ask(), arm, arms.search)
        assert ("recipe.momentum" in found) == (found["recipe.optimiser"] == "sgd")
        assert ("recipe.rand_augment_magnitude" in found) == (found["recipe.rand_augment"] > 0)
        # The shortcut is the arm's own: no dimension of the space.
        assert ("model.groups" in found) == (found["model.norm"] == "group" and key[0] == "identity")


def everything(factory, found={}):  # noqa: B006
    """The study with all these dimensions, read once."""
    if not found:
        found["study"] = planned(factory.mktemp("everything"), EVERYTHING)
    return found["study"]


def test_a_condition_on_a_dimension_that_is_not_asked_looks_at_the_arms_own_value(tmp_path):
    space = """{space: {
      optimiser: [sgd, adam],
      nesterov: {choices: [true, false], when: {optimiser: sgd}},
      momentum: {low: 0.5, high: 0.9, when: {nesterov: false}}}}"""
    study = planned(tmp_path, space)
    arm = next(iter(study.arms.values()))
    asked = suggest(
        optuna.trial.FixedTrial({"recipe.optimiser": "adam", "recipe.momentum": 0.6}), arm, study.search
    )
    assert asked == {"recipe.optimiser": "adam", "recipe.momentum": 0.6}


def test_the_first_trial_has_the_arms_own_values_where_the_space_has_them(tmp_path):
    study = planned(tmp_path, EVERYTHING)
    arm = next(iter(study.arms.values()))
    assert own_settings(arm, study.search) == {
        "recipe.optimiser": "sgd",
        "recipe.learning_rate": 0.05,
        "recipe.weight_decay": 1e-4,
        "recipe.batch_size": 64,
        "recipe.momentum": 0.9,
        "model.dropout": 0.0,
        "recipe.rand_augment": 0,
        "recipe.warmup": 0.0,
        "model.norm": "batch",
    }
    study = planned(tmp_path, "{space: {learning_rate: {low: 0.1, high: 1}, weight_decay: [0.001, 0.01]}}")
    assert own_settings(arm, study.search) == {}


# ------------------------------------------------------------------------------------------ suites


def test_a_suite_wins_over_the_study_field_by_field(tmp_path):
    own = "{trials: 9, seeds: 3, space: {learning_rate: {low: 0.1, high: 1}, batch_size: [16, 32]}}"
    suite = SUITE.replace(
        "[8]}}}", "[8]}, search: {trials: 5, space: {batch_size: [8, 16], flip: [true, false]}}}}"
    )
    search = planned(tmp_path, own, suite).search
    assert (search.trials, search.seeds) == (5, 3)
    assert search.space["recipe.batch_size"].choices == (8, 16)
    assert list(search.space) == ["recipe.learning_rate", "recipe.batch_size", "recipe.flip"]
    every = SUITE + "search: {trials: 7, seeds: 4}\n"
    search = planned(tmp_path, own, every).search
    assert (search.trials, search.seeds) == (7, 4)
    both = suite + "search: {trials: 7, seeds: 4}\n"
    search = planned(tmp_path, own, both).search
    assert (search.trials, search.seeds) == (5, 4)


def test_a_suite_can_search_in_a_study_that_has_no_search(tmp_path):
    suite = SUITE.replace("[8]}}}", "[8]}, search: {space: {learning_rate: {low: 0.1, high: 1}}}}}")
    search = planned(tmp_path, None, suite).search
    assert list(search.space) == ["recipe.learning_rate"] and search.trials == 20
    assert planned(tmp_path, None, SUITE + "search: {trials: 7}\n").search is None


SUITE_FAULTS = {
    "{space: {depth: [8, 14]}}": "search.space: model.depth is what the factor depth varies",
    "{space: {momentum: {low: 0.1, high: 0.9, when: {optimizer: sgd}}}}": "`optimizer` is no field of model or recipe (did you mean `optimiser`?)",
    "{space: {momentum: {low: 0.1, high: 0.9, when: {optimiser: sgd}}, optimiser: [sgd, adam]}}": "`recipe.optimiser` comes later in the space",
    "{trial: 3}": "studies.depth.search.trial: unknown key (did you mean `trials`?); allowed: trials, seeds, space",
}


@pytest.mark.parametrize("search", SUITE_FAULTS)
def test_what_a_suite_changes_is_checked_like_the_study(tmp_path, search):
    suite = SUITE.replace("[8]}}}", f"[8]}}, search: {search}}}}}")
    with pytest.raises(UserError) as raised:
        planned(tmp_path, "{space: {learning_rate: {low: 0.1, high: 1}}}", suite)
    told = str(raised.value)
    assert "tiny.yaml: " in told and SUITE_FAULTS[search] in told and "\n" not in told


def test_a_suite_that_searches_without_a_space_says_so(tmp_path):
    suite = SUITE.replace("[8]}}}", "[8]}, search: {trials: 5}}}")
    with pytest.raises(
        UserError, match=r"depth.yaml in .*tiny.yaml: the study has no `search`; give it a `space`"
    ):
        planned(tmp_path, None, suite)


# ------------------------------------------------------------------------------------------ bad input


FAULTS = {
    "{}": "search.space: missing",
    "{space: {}}": "search.space: expected fields with their values",
    "{space: [learning_rate]}": "search.space: expected fields with their values",
    "{space: {learning_rat: [1, 2]}}": "search.space: `learning_rat` is no field of model or recipe (did you mean `learning_rate`?)",
    "{space: {learning_rate: 0.1}}": "learning_rate: expected a list of values, or a mapping such as {low: 0.01, high: 1, log: true}, found 0.1",
    "{space: {learning_rate: [0.1]}}": "learning_rate: give two different values or more, found [0.1]",
    "{space: {learning_rate: [0.1, 0.1]}}": "give two different values or more",
    "{space: {nesterov: [true, 1]}}": "give two different values or more",
    "{space: {widths: [[8, 16, 32], [4, 8, 16]]}}": "a value is a number, a word, true or false, found [8, 16, 32]",
    "{space: {learning_rate: {low: 1, high: 0.1}}}": "`low` is below `high`, found 1.0 and 0.1",
    "{space: {learning_rate: {low: 0.1}}}": "learning_rate: high: missing",
    "{space: {learning_rate: {low: 0.1, high: 1, logs: true}}}": "logs: unknown key (did you mean `log`?)",
    "{space: {learning_rate: {low: a, high: 1}}}": "learning_rate: low: found 'a'; should be a number",
    "{space: {weight_decay: {low: 0, high: 1, log: true}}}": "`low` of a logarithmic range is above 0, found 0.0",
    "{space: {batch_size: {low: 16, high: 64, log: true, step: 16}}}": "give `log` or `step`, not both",
    "{space: {batch_size: {low: 16, high: 64, step: 0}}}": "`step` is above 0 and fits between `low` and `high`, found 0",
    "{space: {batch_size: {low: 16, high: 64, step: 2.5}}}": "`step` between whole numbers is one, found 2.5",
    "{space: {batch_size: {low: 16, high: 64, step: 5}}}": "`high` is `low` and some steps, found 16, 64 and 5",
    "{space: {batch_size: {low: 16, high: 64.5}}}": "batch_size: found 64.5; should be a valid integer",
    "{space: {momentum: {low: 0.5, high: 1.0}}}": "momentum: found 1.0; should be less than 1",
    "{space: {optimiser: [sgd, adamw]}}": "optimiser: found 'adamw'; should be 'sgd' or 'adam'",
    "{space: {flip: {low: 0, high: 1}}}": "flip: found 0; should be a valid boolean",
    "{space: {batch_size: [16, 32], recipe.batch_size: [8, 16]}}": "`recipe.batch_size`: recipe.batch_size is there twice",
    "{space: {shortcut: [none, identity]}}": "search.space: model.shortcut is what the factor shortcut varies",
    "{space: {momentum: {low: 0.1, high: 0.9, when: sgd}}}": "momentum: when: found 'sgd'",
    "{space: {momentum: {low: 0.1, high: 0.9, when: {optimizer: sgd}}}}": "`optimizer` is no field of model or recipe (did you mean `optimiser`?)",
    "{space: {momentum: {low: 0.1, high: 0.9, when: {optimiser: sdg}}}}": "momentum.when: optimiser: found 'sdg'; should be 'sgd' or 'adam'",
    "{space: {momentum: {low: 0.1, high: 0.9, when: {optimiser: sgd}}, optimiser: [sgd, adam]}}": "`recipe.optimiser` comes later in the space; put it first",
    "{space: {schedule: [step, cosine], gamma: {low: 0.1, high: 0.9, when: {schedule: constant}}}}": "gamma.when: recipe.schedule is never 'constant' in this space",
    "{trials: 0, space: {flip: [true, false]}}": "search.trials: found 0; should be greater than 0",
    "{seeds: 0, space: {flip: [true, false]}}": "search.seeds: found 0; should be greater than 0",
    "{objectives: [test_error], space: {flip: [true, false]}}": "search.objectives.0: found 'test_error'",
    "{objectives: [macs], space: {flip: [true, false]}}": "[validation_error], or [validation_error, macs]",
    "{sampler: random, space: {flip: [true, false]}}": "search.sampler: unknown key",
}


@pytest.mark.parametrize("search", FAULTS)
def test_wrong_input_is_one_message_with_file_and_key(tmp_path, capsys, search):
    where = folder(tmp_path, search)
    assert main(["show", "depth", "--suite", "tiny", "--extra", str(where)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"ablations: {where / 'studies' / 'depth.yaml'}: search"), told
    assert FAULTS[search] in told and told.count("\n") == 1, told


def test_the_search_is_shown(tmp_path, capsys):
    where = folder(tmp_path, EVERYTHING)
    assert main(["show", "depth", "--suite", "tiny", "--extra", str(where)]) == 0
    told = capsys.readouterr().out
    assert "search: 6 trials an arm, 2 seeds a trial" in told
    assert "recipe.learning_rate: from 0.001 to 1 on a logarithmic scale" in told
    assert "recipe.optimiser: one of sgd, adam" in told
    assert "recipe.batch_size: from 16 to 64 in steps of 16" in told


@pytest.mark.parametrize("name", ["search", "depth-tuned"])
def test_names_that_searches_take_are_refused(tmp_path, name):
    where = folder(tmp_path)
    write(where / "studies" / f"{name}.yaml", DEPTH)
    with pytest.raises(UserError, match="cannot be a name here"):
        Library(where).study(name)
