from __future__ import annotations

import copy

import pytest
from conftest import write
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ablations.config import KINDS, METRICS, PACKAGE, Dataset, Library, Recipe, Study, Suite, named, read_yaml
from ablations.errors import UserError
from ablations.networks import ResNet
from ablations.plan import make_plan
from ablations.schema import validate

DEPTH = PACKAGE / "studies" / "depth.yaml"


def message(kind, raw) -> str:
    with pytest.raises(UserError) as error:
        validate(kind, raw, "file.yaml")
    return str(error.value)


def depth_study(**changes):
    return {**YAML(typ="safe", pure=True).load(DEPTH), **changes}


@pytest.mark.parametrize("kind", KINDS)
def test_everything_the_package_brings_is_valid(kind):
    library = Library()
    assert library.names(kind)
    for name in library.names(kind):
        library._read(kind, name)


@pytest.mark.parametrize("suite", Library().names("suites"))
def test_every_suite_plans(suite):
    assert make_plan(Library(), suite).jobs


def test_unknown_key_names_path_and_suggests():
    suite = {"title": "x", "data": "digits", "seeds": 1, "studies": {}, "recipe": {"epoch": 3}}
    told = message(Suite, suite)
    assert told.startswith("file.yaml: recipe.epoch: unknown key (did you mean `epochs`?); allowed: epochs, ")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"epochs": "12"}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"epochs": 0}, "epochs"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"precision": "fp16"}, "precision"),
        ({"milestones": [0.5, 2]}, "milestones.1"),
        ({"flip": 1}, "flip"),
        ({"deterministic": "false"}, "deterministic"),
        ({"compile": 1}, "compile"),
        ({"memory_format": "nhwc"}, "memory_format"),
        ({"epochs": None}, "epochs"),
    ],
)
def test_wrong_values_are_named(fields, path):
    raw = {"epochs": 1, "batch_size": 1, "learning_rate": 0.1, **fields}
    assert message(Recipe, raw).startswith(f"file.yaml: {path}: found ")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"source": "folder"}, "`path` belongs to sources `parquet` and `folder`, and only there"),
        (
            {"source": "digits", "path": "x"},
            "`path` belongs to sources `parquet` and `folder`, and only there",
        ),
        (
            {"source": "cifar10", "size": 8},
            "`size` belongs to sources `parquet` and `folder`, and only there",
        ),
        ({"source": "parquet", "path": "x", "size": 0}, "size: found 0; should be greater than 0"),
        ({"source": "folders", "path": "x"}, "source: found 'folders'; should be 'digits'"),
    ],
)
def test_images_of_ones_own_have_a_path_and_may_have_a_size(fields, told):
    assert told in message(Dataset, {"title": "x", "validation": 1, **fields})


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (-1, "found -1; should be greater than or equal to 0"),
        (100.5, "found 100.5; should be less than or equal to 100"),
        ("10 %", "found '10 %'; should be a valid number"),
        (True, "found True; should be a valid number"),
        (float("nan"), "found nan; should be a finite number"),
    ],
)
def test_targets_are_validation_errors_in_percent(target, told):
    suite = {"title": "x", "data": "digits", "seeds": 1, "studies": {}, "recipe": {}}
    assert message(Suite, {**suite, "target_error": target}) == f"file.yaml: target_error: {told}"
    in_study = {**suite, "studies": {"depth": {"target_error": target}}}
    assert message(Suite, in_study) == f"file.yaml: studies.depth.target_error: {told}"


def test_all_faults_at_once():
    assert len(message(Recipe, {"epochs": "a", "lr": 1}).splitlines()) == 4  # two more are missing


@pytest.mark.parametrize(
    ("depth", "near"), [(21, "20 and 26"), (9, "8 and 14"), (7, "8"), (-4, "8"), (57, "56 and 62")]
)
def test_invalid_depth_says_which_are_valid_near_it(depth, near):
    assert message(ResNet, {"depth": depth}).endswith(f"valid near it: {near}")


@given(st.integers(1, 300))
def test_every_valid_depth_is_accepted(n):
    assert ResNet(depth=6 * n + 2).depth == 6 * n + 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"factors": {"dept": [8]}}, "dept: `dept` is no field of model or recipe (did you mean `depth`?)"),
        ({"factors": {"depth": [8, 8]}}, "depth: level given twice: 8"),
        ({"factors": {"depth": 8}}, "depth: expected a list of values or a mapping"),
        ({"factors": {"depth": []}}, "depth: a factor needs at least one level"),
        ({"factors": {"depth": [8, [9]]}}, "a level is a number or a word, found [9]"),
        ({"factors": {"deep": {"yes": 1}}}, "level `yes`: expected the fields it sets, found 1"),
        ({"factors": {}}, "expected factors with their levels"),
        ({"factors": {"depth": [8], "d": {"a": {"depth": 8}}}}, "factors depth and d both set model.depth"),
        ({"factors": {"seed": {"a": {"depth": 8}}}}, "has a column of this name"),
        ({"factors": {"gap": {"a": {"depth": 8}}}}, "gap: a table has a column of this name"),
        ({"skip": [{"dept": 20}]}, "skip.0: no factor `dept` (did you mean `depth`?)"),
        ({"skip": [{}]}, "skip.0: give a level, or a list of levels, of one factor or more"),
        ({"skip": [{"depth": []}]}, "skip.0: give a level"),
        ({"skip": [{"depth": [20, 21]}]}, "skip.0.depth: no level `21`"),
        (
            {
                "claims": {},
                "figures": {
                    "f": {
                        "kind": "levels",
                        "x": "width",
                        "y": ["test_error"],
                        "colour": "depth",
                        "title": "t",
                    }
                },
            },
            "`width` is no factor",
        ),
    ],
)
def test_wrong_studies(changes, told):
    assert told in message(Study, depth_study(**changes))


def test_claims_name_a_level_of_each_factor():
    raw = copy.deepcopy(depth_study())
    del raw["claims"]["plain-networks-degrade-with-depth"]["arm"]["depth"]
    assert (
        "claims.plain-networks-degrade-with-depth.arm: give a level of each factor: shortcut, depth"
        in message(Study, raw)
    )


def test_published_figures_need_the_statistic_they_are():
    raw = copy.deepcopy(depth_study())
    claim = raw["claims"]["residual-networks-beat-plain-ones"]
    assert (
        Study.model_validate(raw)
        .claims["residual-networks-beat-plain-ones"]
        .in_print.endswith("CIFAR-10; number of runs not stated")
    )
    del claim["statistic"]
    assert "`published` has figures: give their `statistic`" in message(Study, raw)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"than": {"shortcut": "none", "depth": 56}}, ": `arm` and `than` are the same arm, or share one"),
        (
            {"than": {"shortcut": ["none", "identity"], "depth": [20, "56"]}},
            ": `arm` and `than` are the same arm, or share one",
        ),
        ({"than": {"shortcut": "none", "depth": []}}, ".than.depth: give one level, found []"),
        ({"than": None}, ": `than` is missing for kind greater, which takes arm, than"),
        (
            {"kind": "bigger"},
            ".kind: found 'bigger'; should be 'greater', 'less', 'not_greater', 'equivalent', ",
        ),
        ({"threshold": 5}, ": `threshold` does not belong to kind greater, which takes arm, than"),
        ({"kind": "equivalent", "margin": 0}, ": `margin` of kind equivalent is above 0, found 0"),
        ({"kind": "fails"}, ": `than` does not belong to kind fails, which takes arm, threshold"),
        ({"kind": "fails", "than": None}, ": `threshold` is missing for kind fails"),
        (
            {"kind": "fails", "than": None, "threshold": 5, "arm": {"shortcut": "none", "depth": [8, 20]}},
            ".arm.depth: give one level, found [8, 20]",
        ),
        ({"kind": "trend", "than": None, "factor": "depth"}, ": `direction` is missing for kind trend"),
        (
            {"kind": "trend", "than": None, "factor": "width", "direction": "rises"},
            ".factor: `width` is no factor of this study: shortcut, depth",
        ),
        (
            {"kind": "trend", "than": None, "factor": "depth", "direction": "rises"},
            ".arm: give a level of each factor: shortcut",
        ),
        (
            {"kind": "trend", "than": None, "factor": "depth", "direction": "up"},
            ".direction: found 'up'; should be 'rises' or 'falls'",
        ),
        ({"kind": "crossover", "factor": "depth"}, ": `at` is missing for kind crossover"),
        ({"kind": "crossover", "factor": "depth", "at": [20]}, ".at: "),
        (
            {"kind": "crossover", "factor": "depth", "at": [20, "20"]},
            ": `at` takes two levels, found 20 twice",
        ),
    ],
)
def test_claims_give_what_their_kind_takes(changes, told):
    raw = copy.deepcopy(depth_study())
    claim = raw["claims"]["plain-networks-degrade-with-depth"] | changes
    raw["claims"]["plain-networks-degrade-with-depth"] = {
        key: value for key, value in claim.items() if value is not None
    }
    assert f"claims.plain-networks-degrade-with-depth{told}" in message(Study, raw)


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "less"},
        {"kind": "equivalent"},
        {"kind": "greater", "arm": {"shortcut": "none", "depth": [56, 110]}},
        {"kind": "fails", "than": None, "threshold": 80.0},
        {"kind": "trend", "arm": {"shortcut": "none"}, "than": None, "factor": "depth", "direction": "rises"},
        {
            "kind": "crossover",
            "arm": {"shortcut": "none"},
            "than": {"shortcut": "identity"},
            "factor": "depth",
            "at": ["first", 56],
        },
    ],
)
def test_kinds_of_claims(changes):
    raw = copy.deepcopy(depth_study())
    claim = raw["claims"]["plain-networks-degrade-with-depth"] | changes
    raw["claims"]["plain-networks-degrade-with-depth"] = {
        key: value for key, value in claim.items() if value is not None
    }
    assert Study.model_validate(raw).claims["plain-networks-degrade-with-depth"].kind == changes["kind"]


@pytest.mark.parametrize("metric", METRICS)
def test_claims_and_figures_are_about_any_metric(metric):
    raw = copy.deepcopy(depth_study())
    raw["claims"]["plain-networks-degrade-with-depth"]["metric"] = metric
    raw["figures"]["error-by-depth"]["y"] = [metric]
    assert Study.model_validate(raw).claims["plain-networks-degrade-with-depth"].metric == metric
    assert named(metric)[1] in ("", "%", "pp", "ms", "s", "images/s", "MB")


def test_an_unknown_metric_is_answered_with_those_that_are_known():
    raw = copy.deepcopy(depth_study())
    raw["claims"]["plain-networks-degrade-with-depth"]["metric"] = "speed"
    told = message(Study, raw)
    assert told.startswith(
        "file.yaml: claims.plain-networks-degrade-with-depth.metric: found 'speed'; should be 'train_error', "
    )
    assert "\n" not in told and all(f"'{metric}'" in told for metric in METRICS)


@pytest.mark.parametrize(
    ("change", "told"), [({"x": None}, "takes a factor as `x`"), ({"y": []}, "at least one metric")]
)
def test_incomplete_figures(change, told):
    raw = copy.deepcopy(depth_study())
    raw["figures"]["error-by-depth"] |= change
    assert told in message(
        Study,
        {
            **raw,
            "figures": {"f": {k: v for k, v in raw["figures"]["error-by-depth"].items() if v is not None}},
        },
    )


def test_citations_are_looked_up(tmp_path):
    text = DEPTH.read_text()
    write(tmp_path / "studies" / "mine.yaml", text.replace("source: li2018", "source: li2019"))
    with pytest.raises(
        UserError,
        match=r"claims.residual-networks-beat-plain-ones.source: `li2019` is not in .*did you mean `li2018`",
    ):
        Library(tmp_path).study("mine")
    write(tmp_path / "references.bib", "@misc{li2019,\n title = {Own}\n}\n")
    assert Library(tmp_path).study("mine")
    write(tmp_path / "studies" / "mine.yaml", text.replace("[@he2016]", "[@nobody]"))
    with pytest.raises(UserError, match="background: `nobody` is not in"):
        Library(tmp_path).study("mine")


@pytest.mark.parametrize("name", ["train", "report", "data", "Depth", "a.b", "é"])
def test_names_that_are_taken_or_cannot_be_file_names(tmp_path, name):
    write(
        tmp_path / "suites" / f"{name}.yaml", "{title: mine, data: digits, seeds: 1, recipe: {}, studies: {}}"
    )
    with pytest.raises(UserError, match="cannot be a name here"):
        Library(tmp_path).suite(name)


def test_curves_never_show_the_test_split():
    raw = copy.deepcopy(depth_study())
    raw["figures"]["training-curves"]["y"] = ["test_error"]
    assert "the test is read once" in message(Study, raw)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1", "line 1"),
        ("a: 1\na: 2", "line 2, column 1: the key `a` is there twice"),
        ("\tb: 1", "line 1"),
        ("!!python/object/apply:os.system [ls]", "line 1, column 1: the tag tag:yaml.org,2002:python/"),
        ("a: &x [*x]", "line 1, column 4: `&x` holds itself, by an alias `*x` in it"),
        ("", "expected a mapping with the keys title, question"),
        ("[]", "expected a mapping with the keys title, question"),
        ("just text", "expected a mapping with the keys title, question"),
    ],
)
def test_files_that_are_no_study(tmp_path, text, told):
    path = write(tmp_path / "studies" / "bad.yaml", text)
    with pytest.raises(UserError) as error:
        Library(tmp_path).study("bad")
    assert str(error.value).startswith(str(path))
    assert told in str(error.value)


def test_other_encodings_are_named(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes("title: \xe9".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        read_yaml(path)


def test_yaml_numbers_and_words_are_what_they_look_like(tmp_path):
    assert read_yaml(write(tmp_path / "a.yaml", "{a: 1e-4, b: no, c: 0x10, d: 010}")) == {
        "a": 1e-4,
        "b": "no",
        "c": 16,
        "d": 10,
    }


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UserError, match=r"unknown study `dept` \(did you mean `depth`\?\); known: .*depth"):
        Library().study("dept")
    with pytest.raises(UserError, match=r"unknown suite `cifar`.*known: .*cifar10, .*smoke"):
        Library().suite("cifar")


def test_a_folder_of_ones_own_wins(tmp_path):
    write(
        tmp_path / "suites" / "digits.yaml", "{title: mine, data: digits, seeds: 1, recipe: {}, studies: {}}"
    )
    assert Library(tmp_path).suite("digits").title == "mine"
    assert "smoke" in Library(tmp_path).names("suites")
    with pytest.raises(UserError, match="expected a folder with studies/"):
        Library(tmp_path / "missing")


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
TREES = st.recursive(
    SCALARS,
    lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(max_size=5), t, max_size=3),
    max_leaves=5,
)


def places(tree, path=()):
    yield path
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_study_changed_anywhere_is_valid_or_refused_with_a_message(data):
    raw = copy.deepcopy(depth_study())
    path = data.draw(st.sampled_from([p for p in places(raw) if p]))
    target = raw
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = data.draw(TREES)
    try:
        validate(Study, raw, "file.yaml")
    except UserError as error:
        assert str(error).startswith("file.yaml: ")
