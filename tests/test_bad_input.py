"""What users write, mutated: a file gives the plan that its text says, or one message that names file, line or key.

ABLATIONS_SOAK=20 python -m pytest tests/test_bad_input.py    twenty times as many of each kind
"""

from __future__ import annotations

import copy
import functools
import html.parser
import itertools
import json
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
import yaml  # PyYAML: the second reader
from conftest import ROOT, examples, no_longer_than, snakemake, tally, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablations import layout
from ablations.cli import main
from ablations.config import KINDS, PACKAGE, RESERVED, Library, Recipe, Suite
from ablations.errors import UserError
from ablations.headline import draw_title
from ablations.options import Options, read_options
from ablations.plan import Plan, data_key, make_plan
from ablations.reading import read_yaml
from ablations.typesetting import Typesetter

MANY = settings(
    examples(15),
    suppress_health_check=list(HealthCheck),
    database=None,
    print_blob=True,
)
MUTATED: Counter[str] = Counter()  # files, by what was mutated and what became of it
UNREAD: Counter[str] = Counter()  # of those that were planned, the ones that PyYAML reads otherwise


@pytest.fixture(scope="module", autouse=True)
def count():
    yield
    tally("YAML files mutated", sum(MUTATED.values()))
    for what, number in sorted(MUTATED.items()):
        tally(f"- {what}", number)
    tally("- of the planned, read by one parser only", UNREAD.total())


# ------------------------------------------------------------------------------------------ files to begin with


@functools.cache
def text_of(kind: str, name: str) -> str:
    return (PACKAGE / kind / f"{name}.yaml").read_text(encoding="utf-8")


@functools.cache
def _tree(kind: str, name: str) -> Any:
    return read_yaml(PACKAGE / kind / f"{name}.yaml")


def tree_of(kind: str, name: str) -> Any:
    return copy.deepcopy(_tree(kind, name))


NAMES = {kind: Library().names(kind) for kind in KINDS}


class Own(Library):
    """The definitions of one folder, without those of the package: quick to plan."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.folders = [folder]


@functools.cache
def packaged(kind: str, name: str) -> Any:
    return getattr(Library(), {"studies": "study", "suites": "suite", "datasets": "dataset"}[kind])(name)


class Beside(Library):
    """The definitions of a folder, where one is given, beside those of the package, which are read once."""

    def _read(self, kind: str, name: str) -> Any:
        packages = PACKAGE in self.path(kind, name).parents
        return packaged(kind, name) if packages else super()._read(kind, name)


def small_suite(study: str, special: bool) -> dict[str, Any]:
    """A suite of one study, as the suite `digits` runs it or as it is."""
    digits = tree_of("suites", "digits")
    own = digits["studies"][study] if special else {}
    return {
        "title": "small",
        "data": "digits",
        "seeds": 2,
        "recipe": digits["recipe"],
        "studies": {study: {**own, **({"data": "digits"} if "data" in own else {})}},
    }


# ------------------------------------------------------------------------------------------ writing and reading again


def as_yaml(value: Any) -> str:
    """A tree as YAML in a line, by nothing but the rules of JSON and YAML's words for what JSON lacks."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_yaml(key)}: {as_yaml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return json.dumps(value, ensure_ascii=False)


def lines_of(mapping: dict) -> str:
    """A mapping as YAML with a line for each of its keys."""
    return "".join(f"{as_yaml(key)}: {as_yaml(value)}\n" for key, value in mapping.items())


class Unread(Exception):
    """PyYAML reads it otherwise, or not at all."""


def second_reading(text: str) -> Any:
    """The tree of a text by PyYAML's parser and the rules of YAML 1.2 for words and numbers."""
    try:
        return plain(yaml.compose(text.removeprefix("\ufeff"), Loader=yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError):
        raise Unread from None


def plain(node: Any) -> Any:
    if node is None:
        return None
    if isinstance(node, yaml.SequenceNode):
        return [plain(each) for each in node.value]
    if isinstance(node, yaml.MappingNode):
        pairs = [(plain(key), plain(value)) for key, value in node.value]
        if any(key == "<<" or isinstance(key, list | dict) for key, _ in pairs):
            raise Unread
        return dict(pairs)
    return node.value if node.style else word(node.value)


def word(text: str) -> Any:
    """A word without quotes, by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#1032-tag-resolution)."""
    if re.fullmatch("null|Null|NULL|~|", text):
        return None
    if re.fullmatch("(t|T)rue|TRUE|(f|F)alse|FALSE", text):
        return text.lower() == "true"
    if re.fullmatch("[-+]?[0-9]+", text):
        return int(text)
    if re.fullmatch("0o[0-7]+|0x[0-9a-fA-F]+", text):
        return int(text, 0)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        return float(text)
    if re.fullmatch(
        r"[-+]?0b[01]+|[-+]?[0-9][0-9_.eExa-fA-F+-]*|[-+]0[xo][0-9a-fA-F_]+|[-+]?\.(inf|nan)", text, re.I
    ):
        raise Unread  # ruamel's numbers beyond the core schema: 1_000, 0b1; and nearly numbers
    return text


# ------------------------------------------------------------------------------------------ what a plan should be


def path_of(field: str) -> str:
    if "." in field:
        return field
    return f"recipe.{field}" if field in Recipe.model_fields else f"model.{field}"


def label_of(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def levels_of(factor: str, levels: Any) -> dict[str, dict[str, Any]]:
    """Labels of a factor with the fields that each sets."""
    if isinstance(levels, list):
        return {label_of(value): {path_of(factor): value} for value in levels}
    return {
        label_of(key): {path_of(field): value for field, value in fields.items()}
        for key, fields in levels.items()
    }


def arms_of(study: dict, suite: dict, name: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """The fields that are set in each arm, by path, straight from the trees of the files."""
    special = suite["studies"].get(name) or {}
    factors = {factor: levels_of(factor, levels) for factor, levels in study["factors"].items()}
    for factor, levels in special.get("levels", {}).items():
        if isinstance(levels, list) and isinstance(study["factors"][factor], dict):
            factors[factor] = {label_of(each): factors[factor][label_of(each)] for each in levels}
        else:
            factors[factor] = levels_of(factor, levels)
    base = {
        f"{part}.{field}": value
        for part in ("model", "recipe")
        for layer in (suite, study, special)
        for field, value in layer.get(part, {}).items()
    }
    arms = {}
    for combination in itertools.product(*(levels.items() for levels in factors.values())):
        key = tuple(label for label, _ in combination)
        at = dict(zip(factors, key, strict=True))
        if not any(
            all(
                at[factor]
                in [label_of(each) for each in (skipped if isinstance(skipped, list) else [skipped])]
                for factor, skipped in skip.items()
            )
            for skip in study.get("skip", [])
        ):
            arms[key] = base | {path: value for _, fields in combination for path, value in fields.items()}
    return arms


def same(found: Any, said: Any) -> bool:
    """Whether a field has the value that the text says: whole numbers are numbers too, but true is not 1."""
    if isinstance(found, tuple | list):
        several = said if isinstance(said, list) else [said] * len(found)  # VGG: one number for each stage
        return len(found) == len(several) and all(map(same, found, several))
    return found == said and isinstance(found, bool) == isinstance(said, bool) and not isinstance(said, list)


def is_what_is_written(plan: Plan, study: dict, suite: dict, name: str) -> None:
    """The arms of a study have the values of the text, by an independent reading, and nothing else."""
    planned, said = plan.studies[name], arms_of(study, suite, name)
    assert list(planned.arms) == list(said)
    special = suite["studies"].get(name) or {}
    assert planned.seeds == tuple(range(special.get("seeds") or suite["seeds"]))
    for key, arm in planned.arms.items():
        for part in ("model", "recipe"):
            definition = getattr(arm, part)
            given = {path.partition(".")[2]: v for path, v in said[key].items() if path.startswith(part)}
            for field, value in given.items():
                assert same(getattr(definition, field), value), (key, part, field, value)
            for field in type(definition).model_fields.keys() - given.keys():
                default = type(definition).model_fields[field].default
                assert getattr(definition, field) == default, (key, part, field)
            sane(definition.model_dump())


def sane(value: Any) -> None:
    """No number that could not be trained with, or keeps a processor busy for ever."""
    if isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            sane(each)
    if isinstance(value, float | int):
        assert abs(value) <= 10_000_000


# ------------------------------------------------------------------------------------------ what a message should be

NO_PLAIN_WORDS = (
    "Traceback",
    "pydantic",
    "<class",
    "object at 0x",
    "Error(",
    "function-",
    "union[",
    "ruamel",
    "None None",
)


def is_one_message(error: UserError, folder: Path) -> None:
    """File, and line or key; what was found, and what is allowed; a line a fault, not too many, none too long."""
    lines = str(error).split("\n")
    assert len(lines) <= 21 and str(folder) in lines[0], error
    for each in lines:
        assert re.match(r"/[\w/-]+(: '[^']*'|/[^/:]+\.yaml)(, line \d+(, column \d+)?| in |: ).*", each), each
        assert len(each) <= 2500 and "".join(each.split()).isprintable(), each
        assert not any(word in each for word in NO_PLAIN_WORDS), each
        assert not each.rstrip().endswith(":"), each


def planned(folder: Path, suite: str, library: type[Library] = Own) -> Plan | UserError:
    """The plan, or the one message."""
    try:
        with no_longer_than(60):
            plan = make_plan(library(folder), suite)
            assert plan.jobs is not None  # what Snakemake asks for
    except UserError as error:
        is_one_message(error, folder)
        return error
    return plan


def note(kind: str, outcome: Plan | UserError) -> None:
    MUTATED[f"{kind}, {'refused' if isinstance(outcome, UserError) else 'planned'}"] += 1


# ------------------------------------------------------------------------------------------ mutations of trees

LETTERS = st.characters(exclude_categories=["Cs"])
NUMBERS = [0, -1, 1, 2, 3, 8, 20, 64, 10**4, 10**9, 10**12, 10**30, -(10**30), 2**63, 0.5, -0.5, 1.0, 64.0]
NUMBERS += [1e-4, 1e9, 1e308, -1e308, 5e-324, math.inf, -math.inf, math.nan, True, False]
WORDS = [
    "",
    " ",
    "a/b",
    "../../x",
    "a\nb",
    "a\tb",
    " a",
    "\x07",
    "\x00",
    "\u202e",
    "\u2028",
    "\ufeff",
    "\U0001f600",
]
WORDS += [
    *("x", "no", "none", "first", "last", "_a_", "|", "$x$", "$", "#import", "*", "a|b"),
    *("@nobody", "```", "-1", "1e3", "null", "true", "--help", "%", "!"),
]
WORDS += ["<script>alert(1)</script>", "`x`{=html}", "é" * 60, "x" * 5000, "model.depth", "depth"]
NESTED = functools.reduce(lambda inner, _: [inner], range(50), 0)
ODD = st.one_of(
    st.sampled_from([*NUMBERS, *WORDS, None, [], {}, [[]], {"a": {}}, [None], [1, 1], {"depth": 8}, NESTED]),
    st.sampled_from(
        [list(range(3000)), {f"k{i}": i for i in range(300)}, {1: 2}, {None: 1}, {True: {}}, {"": 1}]
    ),
    st.integers(),
    st.floats(),
    st.text(LETTERS, max_size=10),
    st.recursive(
        st.integers(-9, 99) | st.text(LETTERS, max_size=3), lambda t: st.lists(t, max_size=3), max_leaves=4
    ),
)
# What recipes and models could have, so that many mutated files are planned and compared.
FIELDS = [
    (part, field, value)
    for part, fields in {
        "recipe": {
            "epochs": [1, 7, 0, 10**7, 10**7 + 1],
            "learning_rate": [0.1, 1e-9, 1000, 1001, 0],
            "batch_size": [1, 16, 128, 2**31],
            "schedule": ["step", "constant", "steps"],
            "milestones": [[0.1, 0.2], [0.5], [], [0.2, 0.1]],
            "crop_padding": [2, 1000, 10**9],
            "mixup": [0.2, 1],
        },
        "model": {
            "norm": ["layer", "none", "group", "NONE"],
            "widths": [[4, 8, 16], [8, 8, 8], [10**9], [1] * 40, []],
            "depth": [8, 14, 20, 10**9, 21],
            "order": ["pre", "post", "before"],
            "dropout": [0, 0.5, 1],
            "family": ["vgg", "densenet", "lenet", ["vgg"], "resnet"],
            "step_size": [0.5, 1e6],
        },
    }.items()
    for field, values in fields.items()
    for value in values
]


def places(tree: Any, path: tuple = ()):
    yield path
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def at(tree: Any, path: tuple) -> Any:
    return functools.reduce(lambda inner, key: inner[key], path, tree)


def put(tree: Any, path: tuple, value: Any) -> None:
    at(tree, path[:-1])[path[-1]] = value


def misspelt(data: st.DataObject, key: Any) -> str:
    text = str(key) or "x"
    where = data.draw(st.integers(0, len(text) - 1))
    how = data.draw(st.sampled_from(["drop", "double", "upper", "swap", "other"]))
    changed = {
        "drop": text[:where] + text[where + 1 :],
        "double": text[:where] + 2 * text[where] + text[where + 1 :],
        "upper": text[:where] + text[where].upper() + text[where + 1 :],
        "swap": text[:where] + text[where : where + 2][::-1] + text[where + 2 :],
        "other": text[:where] + data.draw(LETTERS) + text[where + 1 :],
    }
    return changed[how]


CHANGES = [
    *("set", "set", "drop", "misspell", "swap", "wrap", "twice", "scale", "add", "field"),
    *("field", "move"),
]


def mutate(data: st.DataObject, tree: dict) -> None:
    """Change a tree in one place."""
    path = data.draw(st.sampled_from([each for each in places(tree) if each]))
    value, inside = at(tree, path), at(tree, path[:-1])
    how = data.draw(st.sampled_from(CHANGES))
    if how == "set":
        put(tree, path, copy.deepcopy(data.draw(ODD)))
    elif how == "drop":
        del inside[path[-1]]
    elif how == "misspell" and isinstance(inside, dict):
        items = [(misspelt(data, key) if key == path[-1] else key, each) for key, each in inside.items()]
        inside.clear()
        inside.update(items)
    elif how == "swap":
        other = data.draw(st.sampled_from([each for each in places(tree) if each]))
        if path[: len(other)] != other and other[: len(path)] != path:
            there = at(tree, other)
            put(tree, other, value)
            put(tree, path, there)
    elif how == "wrap":
        put(tree, path, data.draw(st.sampled_from([[value], {"a": value}, [value, value], str(value)])))
    elif how == "twice" and isinstance(inside, list):
        inside.append(copy.deepcopy(value))
    elif how == "scale" and isinstance(value, int | float):
        put(tree, path, value * data.draw(st.sampled_from([-1, 0, 2, 3, 10, 0.5, 1.0, 10**6, 10**40])))
    elif how == "add" and isinstance(inside, dict):
        inside[data.draw(st.text(LETTERS, max_size=5) | st.integers() | st.booleans() | st.none())] = (
            copy.deepcopy(data.draw(ODD))
        )
    elif how == "field":
        part, field, given = data.draw(st.sampled_from(FIELDS))
        if isinstance(tree.get(part, {}), dict):
            tree.setdefault(part, {})[field] = copy.deepcopy(given)
    elif how == "move":
        del inside[path[-1]]
        others = [each for each in places(tree) if isinstance(at(tree, each), dict)]
        at(tree, data.draw(st.sampled_from(others)))[path[-1]] = value


def differs(plan: Plan, other: Plan, study: str) -> bool:
    """Whether an arm of a study has another id, where and only where its content is another."""
    changed = False
    for key, arm in plan.studies[study].arms.items():
        if key in other.studies[study].arms:
            before = other.studies[study].arms[key]
            content = [(a.model, a.recipe, a.dataset.model_copy(update={"title": ""})) for a in (arm, before)]
            assert (content[0] == content[1]) == (arm.id == before.id)
            changed |= arm.id != before.id
    return changed


@functools.cache
def unchanged(study: str, special: bool) -> Plan:
    """The plan of a study before it is mutated."""
    library = Beside()
    library.suite = lambda name: Suite.model_validate(small_suite(study, special))
    library.names = lambda kind: [study] if kind == "studies" else NAMES[kind]
    return make_plan(library, "digits")


@given(st.data(), st.sampled_from(NAMES["studies"]), st.booleans())
@MANY
def test_a_mutated_study(tmp_path_factory, data, name, special):
    folder = tmp_path_factory.mktemp("my")
    study, suite = tree_of("studies", name), small_suite(name, special)
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(data, study)
    write(folder / "studies" / f"{name}.yaml", lines_of(study))
    write(folder / "suites" / "small.yaml", lines_of(suite))
    write(folder / "datasets" / "digits.yaml", text_of("datasets", "digits"))
    outcome = planned(folder, "small")
    note("study", outcome)
    if isinstance(outcome, Plan):
        is_what_is_written(outcome, study, suite, name)
        differs(outcome, unchanged(name, special), name)


@given(st.data(), st.sampled_from(NAMES["suites"]))
@MANY
def test_a_mutated_suite(tmp_path_factory, data, name):
    folder = tmp_path_factory.mktemp("my")
    suite = tree_of("suites", name)
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(data, suite)
    write(folder / "suites" / "mine.yaml", lines_of(suite))
    outcome = planned(folder, "mine", Beside)
    note("suite", outcome)
    if isinstance(outcome, Plan):
        for study in suite["studies"]:
            is_what_is_written(outcome, tree_of("studies", study), suite, study)


@given(st.data(), st.sampled_from(NAMES["datasets"]))
@MANY
def test_a_mutated_data_set(tmp_path_factory, data, name):
    folder = tmp_path_factory.mktemp("my")
    dataset, suite = tree_of("datasets", name), small_suite("depth", False)
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(data, dataset)
    write(folder / "datasets" / "digits.yaml", lines_of(dataset))
    write(folder / "suites" / "small.yaml", lines_of(suite))
    write(folder / "studies" / "depth.yaml", text_of("studies", "depth"))
    outcome = planned(folder, "small")
    note("data set", outcome)
    if isinstance(outcome, Plan):
        for arm in outcome.studies["depth"].arms.values():
            said = {key: value for key, value in dataset.items() if key != "title"}
            assert arm.dataset.model_dump(exclude_unset=True, exclude={"title"}) == said
            sane(arm.dataset.model_dump())


# ------------------------------------------------------------------------------------------ mutations of text

TOKENS = [
    *("yes", "no", "on", "~", "null", "010", "0o10", "0x1F", "1_000", "0b1", "1:30"),
    *("2001-01-01", "2001-99-99", "1e3", ".5", "1.", "+1", "-0", ".nan", ".inf", "1e400"),
]
TOKENS += [
    "''",
    '""',
    "'x",
    '"x',
    '"\\x07"',
    '"\\ud800"',
    "9" * 5000,
    "0x" + "f" * 5000,
    "{a: 1, a: 2}",
    "[[[",
    "? a",
]
TOKENS += [
    "&a x",
    "*a",
    "&a [*a]",
    "{<<: *a}",
    "{<<: {depth: 8}}",
    "!!str 20",
    "!!int x",
    "!x y",
    "!!binary aGk=",
]
TOKENS += [
    "!!python/object/apply:os.system [ls]",
    "!!python/name:os.system",
    "!!set {a}",
    "- ",
    ": ",
    " #",
    "\t",
    "\n",
]
TOKENS += [*"]}{=|>%@`:#", "<<", "---", "...", "\n\n", "\x00", "\x0b", "\x85", "\u2028", "\ufeff"]
LAUGHS = "l0: &l0 [x]\n" + "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 10)}]\n" for i in range(1, 9))
HEADS = [
    "%YAML 1.1\n---\n",
    "%YAML 1.2\n---\n",
    "%TAG ! tag:yaml.org,2002:python/\n---\n",
    "---\n",
    "# x\n",
    "\ufeff",
]
HEADS += [LAUGHS, "- "]
TAILS = [
    "\n---\na: 1\n",
    "\n...\n",
    "\n...\nx",
    "\ntitle: again\n",
    "\n\t\n",
    "\n]",
    "\nx: " + "[" * 3000,
    "\x1a",
    "\n# é\n",
]
TAILS += [LAUGHS]
ENCODINGS = [
    *3 * ["utf-8"],
    *("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"),
]
WAYS = [
    *("truncate", "delete", "insert", "token", "value", "value", "drop_line", "double_line"),
    *("swap_lines", "indent", "head", "tail", "tabs", "crlf", "cr", "comment"),
]


def mutate_text(data: st.DataObject, text: str) -> str:
    """Change a text in one place."""
    where = data.draw(st.integers(0, len(text) - 1))
    end = min(len(text), where + data.draw(st.integers(1, 30)))
    lines = text.splitlines(keepends=True)
    line = data.draw(st.integers(0, len(lines) - 1))
    how = data.draw(st.sampled_from(WAYS))
    if how == "value":
        values = list(re.finditer(r"(?<=[:,\[{-] )[\w.+-]+|(?<=\[)[\w.+-]+", text))
        match = data.draw(st.sampled_from(values)) if values else re.match("", text)
        token = data.draw(st.sampled_from(TOKENS) | st.integers().map(str) | st.floats().map(repr))
        return text[: match.start()] + token + text[match.end() :]
    if how == "swap_lines":
        other = data.draw(st.integers(0, len(lines) - 1))
        lines[line], lines[other] = lines[other], lines[line]
    changed = {
        "truncate": text[:where],
        "delete": text[:where] + text[end:],
        "insert": text[:where] + data.draw(st.text(LETTERS, max_size=3)) + text[where:],
        "token": text[:where] + data.draw(st.sampled_from(TOKENS)) + text[where:],
        "drop_line": "".join(lines[:line] + lines[line + 1 :]),
        "double_line": "".join(lines[: line + 1] + lines[line:]),
        "swap_lines": "".join(lines),
        "indent": "".join([*lines[:line], " " + lines[line], *lines[line + 1 :]]),
        "head": data.draw(st.sampled_from(HEADS)) + text,
        "tail": text + data.draw(st.sampled_from(TAILS)),
        "tabs": text.replace("  ", "\t"),
        "crlf": text.replace("\n", "\r\n"),
        "cr": text.replace("\n", "\r"),
        "comment": "".join([*lines[:line], "# a comment\n", *lines[line:]]),
    }
    return changed[how] or " "


def write_encoded(data: st.DataObject, path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(data.draw(st.sampled_from(ENCODINGS)), errors="replace"))


def read_again(path: Path) -> Any:
    """The tree of a file by the second reader."""
    return second_reading(path.read_text(encoding="utf-8"))


@given(st.data(), st.sampled_from(NAMES["studies"]), st.booleans())
@MANY
def test_a_study_whose_text_is_mutated(tmp_path_factory, data, name, special):
    folder = tmp_path_factory.mktemp("my")
    text, suite = text_of("studies", name), small_suite(name, special)
    for _ in range(data.draw(st.integers(1, 2))):
        text = mutate_text(data, text)
    write_encoded(data, folder / "studies" / f"{name}.yaml", text)
    write(folder / "suites" / "small.yaml", lines_of(suite))
    write(folder / "datasets" / "digits.yaml", text_of("datasets", "digits"))
    outcome = planned(folder, "small")
    note("text of a study", outcome)
    if isinstance(outcome, Plan):
        try:
            again = read_again(folder / "studies" / f"{name}.yaml")
        except Unread:
            UNREAD[name] += 1
            return
        is_what_is_written(outcome, again, suite, name)
        if again == tree_of("studies", name):
            before = unchanged(name, special)
            assert outcome.jobs == before.jobs and outcome.studies[name].arms == before.studies[name].arms


@given(st.data(), st.sampled_from(NAMES["suites"]))
@MANY
def test_a_suite_whose_text_is_mutated(tmp_path_factory, data, name):
    folder = tmp_path_factory.mktemp("my")
    text = text_of("suites", name)
    for _ in range(data.draw(st.integers(1, 2))):
        text = mutate_text(data, text)
    write_encoded(data, folder / "suites" / "mine.yaml", text)
    outcome = planned(folder, "mine", Beside)
    note("text of a suite", outcome)
    if isinstance(outcome, Plan):
        try:
            again = read_again(folder / "suites" / "mine.yaml")
        except Unread:
            UNREAD[name] += 1
            return
        for study in again["studies"]:
            is_what_is_written(outcome, tree_of("studies", study), again, study)


# ------------------------------------------------------------------------------------------ what changes nothing

WRITERS = {
    "a line": lines_of,
    "blocks": lambda tree: yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=60),
    "line ends of Windows": lambda tree: lines_of(tree).replace("\n", "\r\n"),
    "a byte order mark": lambda tree: "\ufeff" + lines_of(tree),
    "comments": lambda tree: "# first\n---\n" + lines_of(tree).replace("\n", " # then\n\n") + "...\n",
    "keys in another order": lambda tree: lines_of(dict(sorted(tree.items()))),
    "an alias": lambda tree: "background: &b " + lines_of({"x": tree["background"]})[4:]
    + lines_of({key: value for key, value in tree.items() if key not in ("background", "question")})
    + "question: *b\n",
}  # fmt: skip


@given(st.sampled_from(NAMES["studies"]), st.sampled_from(list(WRITERS)), st.booleans())
@MANY
def test_the_same_study_written_otherwise_is_the_same_plan(tmp_path_factory, name, writer, special):
    folder = tmp_path_factory.mktemp("my")
    path = folder / "studies" / f"{name}.yaml"
    path.parent.mkdir()
    path.write_bytes(WRITERS[writer](tree_of("studies", name)).encode())
    write(folder / "suites" / "small.yaml", lines_of(small_suite(name, special)))
    write(folder / "datasets" / "digits.yaml", text_of("datasets", "digits"))
    outcome = planned(folder, "small")
    note("written otherwise", outcome)
    before = unchanged(name, special)
    assert isinstance(outcome, Plan) and list(outcome.jobs) == list(before.jobs)
    assert outcome.studies[name].arms == before.studies[name].arms
    if writer != "an alias":
        assert outcome.studies[name].study == before.studies[name].study


PROSE = {"title", "question", "background", "statement", "published", "statistic"}


@given(st.data(), st.sampled_from(NAMES["studies"]))
@MANY
def test_words_change_no_run(tmp_path_factory, data, name):
    folder = tmp_path_factory.mktemp("my")
    study = tree_of("studies", name)
    for path in list(places(study)):
        if path and path[-1] in PROSE:
            words = [at(study, path), "New words.", "*Other* $x$ words", "<b> | `x`"]
            put(study, path, data.draw(st.sampled_from(words)))
    write(folder / "studies" / f"{name}.yaml", lines_of(study))
    write(folder / "suites" / "small.yaml", lines_of(small_suite(name, True) | {"title": "other words"}))
    write(folder / "datasets" / "digits.yaml", text_of("datasets", "digits"))
    outcome = planned(folder, "small")
    note("other words", outcome)
    assert isinstance(outcome, Plan) and list(outcome.jobs) == list(unchanged(name, True).jobs)


# ------------------------------------------------------------------------------------------ faults that were found


def refused(folder: Path, kind: str, content: bytes | str) -> str:
    """What is said of a file `bad.yaml`, which is no definition."""
    path = folder / kind / "bad.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        getattr(Own(folder), {"studies": "study", "suites": "suite", "datasets": "dataset"}[kind])("bad")
    is_one_message(error.value, folder)
    return str(error.value).removeprefix(str(path))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[" * 10_000_000, ": 10,000,000 bytes; such a file has at most 100,000"),
        ("[" * 90_000, ", line 1, column 21: lists and mappings lie more than 20 deep"),
        ("- " * 40_000, ", line 1, column 41: lists and mappings lie more than 20 deep"),
        ("? " * 40_000, ", line 1, column 41: lists and mappings lie more than 20 deep"),
        ("title: &a [*a]", ", line 1, column 8: `&a` holds itself"),
        ("&a {title: {x: *a}}", ", line 1, column 1: `&a` holds itself"),
        ("&a {<<: *a}", ", line 1, column 1: `&a` holds itself"),
        (LAUGHS, ", line 4, column 5: aliases stand for more than 10,000 values, with `*l3`"),
        (LAUGHS.replace("[x]", "{x: 1}").replace(" [*", " {<<: [*").replace("]\n", "]}\n"),
         "more than 10,000 values"),
        ("a: &a {x: 1}\nb: {<<: *a, y: 1, y: 2}", ", line 2, column 19: the key `y` is there twice"),
        ("!!python/object/apply:os.system [touch hacked]", ", line 1, column 1: the tag tag:yaml.org,2002:python/"),
        ("title: !!python/name:os.system", ", line 1, column 8: the tag "),
        ("title: !!binary aGk=", "binary is not taken; leave it out"),
        ("title: !!bool maybe", ", line 1, column 8: `maybe` is no bool"),
        ('title: !!int ""', ", line 1, column 8: `` is no int"),
        ("title: 0b_", "`0b_` is no int"),
        ("title: -_", "`-_` is no int"),
        ("title: " + "9" * 5000, "`9999999999999999999999999999999999999...` is no int"),
        ("title: 0x" + "f" * 5000, "a number lies between -2^63 and 2^63"),
        ("title: 1e400", ", line 1, column 8: found 1e400; a number lies between"),
        ("title: .nan", "found .nan; a number lies between"),
        ("%YAML 1.1\n---\nflip: no", ", line 2, column 1: only YAML 1.2 is read, in which `no` is a word"),
        ("a: 1\n---\nb: 2", "not valid YAML: but found another document"),
        ("? [a, b]\n: c", ", line 1, column 3: a key is a word or a number, found a list or mapping"),
        ("x" * 300 + ": 1", "a key is a line of 200 characters at most"),
        ('"a\\nb": 1', "a key is a line of 200 characters at most"),
        ('title: "\\x07"', ", line 1, column 8: found the character U+0007; leave it out"),
        ('title: "\\ud800"', "found the character U+D800"),
        ("a: 1\nb: \x00", ", line 2: found the character U+0000; save it as plain text"),
        ("title: x\rdata: y", "found the character U+000D"),
        ("title: x".encode("utf-16"), ", line 1: not UTF-8 text (UTF-16); save it as UTF-8"),
        ("title: x".encode("utf-32"), "not UTF-8 text (UTF-16); save it as UTF-8"),
        ("title: x".encode("utf-16-be"), "found the character U+0000"),
        ("a: 1\ntitle: \xe9t\xe9".encode("latin-1"),
         ", line 2: not UTF-8 text (invalid continuation byte at byte 12)"),
        ("", ": expected a mapping with the keys title, question, "),
        ("\ufeff", ": expected a mapping with the keys title, question, "),
        ("# nothing", ": expected a mapping with the keys title, question, "),
        ("5: 6", ": 5: found 5; a key is a word (in quotes, if it looks like a number)"),
    ],
)  # fmt: skip
def test_files_that_are_refused(tmp_path, monkeypatch, content, told):
    monkeypatch.chdir(tmp_path)
    assert told in refused(tmp_path / "my", "studies", content)
    assert not (tmp_path / "hacked").exists()


def test_dates_are_words_and_numbers_are_those_of_yaml_1_2(tmp_path):
    text = "[[2015-12-10, 2015-99-99, =, 1:30, yes, no, on], [010, 0o10, 0x1F, 1_000, 1e-4, .5, 1., +5, ~]]"
    words, numbers = read_yaml(write(tmp_path / "a.yaml", text))
    assert words == ["2015-12-10", "2015-99-99", "=", "1:30", "yes", "no", "on"]
    assert numbers == [10, 8, 31, 1000, 1e-4, 0.5, 1.0, 5, None]
    text = '%YAML 1.2\n---\n"a": &a [x]\nb: *a\nc: {<<: {d: 1}, e: 2}'
    assert read_yaml(write(tmp_path / "a.yaml", text)) == {"a": ["x"], "b": ["x"], "c": {"d": 1, "e": 2}}


def test_what_is_no_file_is_said(tmp_path):
    studies = tmp_path / "my" / "studies"
    (studies / "folder.yaml").mkdir(parents=True)
    (studies / "link.yaml").symlink_to("nowhere")
    os.mkfifo(studies / "pipe.yaml")
    (studies / ".#hidden.yaml").symlink_to("an editor's lock")
    library = Own(tmp_path / "my")
    assert library.names("studies") == ["folder", "link", "pipe"]
    for name, told in (("folder", "not a file"), ("link", "cannot be read: No such"), ("pipe", "not a file")):
        with pytest.raises(UserError, match=f"{name}.yaml: {told}"):
            library.study(name)
    for extra in ("nowhere", "x" * 5000, "a\0b", tmp_path / "my" / "studies"):
        with pytest.raises(UserError, match="expected a folder with studies/, suites/ or datasets/ in it"):
            Library(extra)


@pytest.mark.parametrize("name", ["a b", "Ü", "a" * 101, "begin_search", "x-tuned", "a\nb", "a'b"])
def test_one_file_with_a_name_that_is_none(tmp_path, name):
    write(tmp_path / "studies" / f"{name}.yaml", text_of("studies", "depth"))
    with pytest.raises(UserError, match="cannot be a name here") as error:
        make_plan(Library(tmp_path), "smoke")
    assert "\n" not in str(error.value)


def test_every_rule_of_the_workflow_has_a_name_that_no_study_can_have(tmp_path):
    texts = [path.read_text() for path in [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]]
    rules = [rule for text in texts for rule in re.findall(r"^rule (\w+):", text, re.MULTILINE)]
    assert len(rules) > 10 and set(rules) <= RESERVED


def test_a_study_that_the_suite_does_not_list_spoils_nothing(tmp_path):
    write(tmp_path / "studies" / "bad.yaml", "title: [")
    plan = make_plan(Beside(tmp_path), "smoke")
    assert re.match(rf"{tmp_path}/studies/bad.yaml, line 1, column 9: not valid YAML: ", plan.unfit["bad"])
    assert list(plan.studies["depth"].arms) == list(make_plan(Beside(), "smoke").studies["depth"].arms)


def test_references_in_another_encoding(tmp_path):
    write(tmp_path / "studies" / "mine.yaml", text_of("studies", "depth"))
    (tmp_path / "references.bib").write_bytes("@misc{x,\n title = {é}\n}".encode("latin-1"))
    with pytest.raises(UserError, match=r"references.bib, line 2: not UTF-8 text"):
        Library(tmp_path).study("mine")


SHORT = {"title": "t", "question": "q", "background": "b", "factors": {"depth": [8, 14]}}
CLAIM = {"statement": "s", "kind": "fails", "metric": "test_error", "arm": {"depth": 8}, "threshold": 50}
CLAIM |= {"margin": 1, "source": "he2015", "published": "none"}
PLAIN = {"title": "t", "data": "digits", "seeds": 2}
PLAIN |= {"recipe": {"epochs": 1, "batch_size": 8, "learning_rate": 0.1}}
FIGURE = {"kind": "levels", "x": "depth", "y": ["test_error"], "colour": "depth", "title": "t"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"title": ""}, "title: found ''; should be a text of 1,000 characters at most, and not empty"),
        ({"title": "x" * 1001}, "title: found 'xxx"),
        ({"title": 2015}, "title: found 2015; should be a word or text (in quotes, if it looks like a number)"),
        ({"question": "`<script>`{=html}"}, "`{=` begins what Markdown leaves as it is"),
        ({"background": "a\n\n```{ =typst}\n#panic()\n```"}, "a line begins with `\x60\x60\x60`: write paragraphs"),
        ({"background": "a\n\n---\ncsl: /etc/passwd\n---\n"}, "a line begins with `---`"),
        ({"background": "::: {onclick=x}"}, "a line begins with `:::`"),
        ({"factors": {"a/b": {"x": {"depth": 8}}}},
         "factors.a/b: found 'a/b'; a name is small letters and digits, with"),
        ({"factors": {"": {"x": {"depth": 8}}}}, "factors.: found ''; a name is small letters and digits"),
        ({"factors": {"front": {"x": {"depth": 8}}}}, "front: a table has a column of this name"),
        ({"factors": {"d": {"a|b": {"depth": 8}}}},
         "level 'a|b': a level has 1 to 100 characters, no space or _ at its"),
        ({"factors": {"d": {"a\nb": {"depth": 8}}}}, "a key is a line of 200 characters at most"),
        ({"factors": {"d": {"": {"depth": 8}}}}, "level '': a level has 1 to 100 characters"),
        ({"factors": {"d": {"x" * 101: {"depth": 8}}}}, "a level has 1 to 100 characters"),
        ({"factors": {"d": {"$x": {"depth": 8}}}}, "and none of | * ` [ ] { } < > $ \\ # @ ^ ~"),
        ({"factors": {"d": {"last": {"depth": 8}, "b": {}}}},
         "level last: claims call the last level so; put it there"),
        ({"factors": {"d": {"b": {"depth": 8}, "first": {}}}}, "level first: claims call the first level so"),
        ({"factors": {"depth": list(range(1001))}},
         "a factor needs at least one level, and has 1,000 at most, found 1,001"),
        ({"skip": [{"depth": 8}] * 201}, "skip: found [{"),
        ({"question": "As [@nobody] says?"}, "question: `nobody` is not in "),
        ({"claims": {"c": CLAIM | {"statement": "As -@{he2014} says."}}}, "claims.c.statement: `he2014` is not in "),
        ({"figures": {"f": FIGURE | {"title": "@he.2015"}}}, "figures.f.title: `he.2015` is not in "),
        ({"claims": {"../../x": CLAIM}}, "claims.../../x: found '../../x'; a name is small letters and digits"),
        ({"claims": {"C": CLAIM}},
         "claims.C: found 'C'; a name is small letters and digits, with dashes or underscores, 100 at most, such as c"),
        ({"claims": {"x" * 101: CLAIM}}, "a name is small letters"),
        ({"figures": {"a b": FIGURE}}, "figures.a b: found 'a b'; a name is "),
        ({"figures": {"f": FIGURE | {"y": ["test_error"] * 2}}}, "`y` needs at least one metric, and each once"),
        ({"claims": {"c": CLAIM | {"arm": {"depth": None}}}},
         "arm.depth: found None; should be a number, a word, true or"),
        ({"recipe": {"epochs": 10**8}}, "recipe.epochs: found 100000000; should be less than or equal to 10000000"),
        ({"recipe": {"learning_rate": 1e308}}, "found 1e+308; a number lies between"),
        ({"recipe": {"learning_rate": 1e9}}, "found 1000000000.0; should be less than or equal to 1000"),
        ({"recipe": {"crop_padding": 10**9}}, "should be less than or equal to 1000"),
        ({"recipe": {"cutout": 10**9}}, "should be less than or equal to 1000"),
        ({"model": {"step_size": 1e7}}, "should be less than or equal to 1000"),
        ({"model": {"gate_bias": -1e18}}, "should be greater than or equal to -1000"),
        ({"search": {"trials": 10**12, "space": {"flip": [True, False]}}}, "should be less than or equal to 10000"),
        ({"search": {"seed": 2**32, "space": {"flip": [True, False]}}},
         "search.seed: found 4294967296; should be less than"),
        ({"search": {"space": {"learning_rate": {"low": 0.1, "high": 1, "step": 1e-300}}}},
         "there are more than 1,000,000 steps of 1e-300 up to `high`"),
        ({"search": {"space": {"batch_size": [8, 16], "flip": {"choices": [True, False], "when": {"batch_size": None}}}}},
         "when.batch_size: found None; should be a number, a word, true or false"),
        ({f"k{i}": 1 for i in range(50)}, ": and 30 more"),
    ],
)  # fmt: skip
def test_values_that_are_refused(tmp_path, changes, told):
    assert told in refused(tmp_path, "studies", lines_of(SHORT | changes))


@pytest.mark.parametrize(
    ("study", "suite", "told"),
    [
        ({"model": {"widths": [10**9]}}, {},
         "model.widths.0: found 1000000000; should be less than or equal to 100000"),
        ({"model": {"widths": [1] * 33}}, {}, "should have at most 32 items"),
        ({"factors": {"depth": [10**9 * 6 + 2]}}, {}, "found 6000000002; should be less than or equal to 10000"),
        ({"model": {"family": ["vgg"]}}, {}, "family: found ['vgg']; known: resnet, densenet"),
        ({"model": {"family": "densenet", "blocks": []}, "factors": {"growth_rate": [8]}}, {},
         "model.blocks: found []; should"),
        ({"model": {"family": "densenet", "depth": 16, "compression": 1e-9}, "factors": {"growth_rate": [8]}}, {},
         "compression 1e-09 leaves a transition no channels"),
        ({"model": {"family": "timm", "model": "hf_hub:x/y"}, "factors": {"flip": [True]}}, {},
         "model.model: found 'hf_hub"),
        ({"factors": {"epochs": list(range(1, 500)), "batch_size": list(range(1, 201))}}, {},
         "a study has at most 10,000 arms"),
        ({"factors": {"epochs": list(range(1, 100))}}, {"seeds": 10_000},
         "99 combinations of levels and 10,000 seeds; a study"),
        ({"search": {"space": {"batch_size": list(range(1, 102))}}}, {},
         "should have at most 100 items after validation, not 101"),
        ({"search": {"space": {"widths": [8, "x"]}}}, {},
         "search.space: arm resnet-8 with {'model.widths': 8}: model.widths"),
        ({}, {"seeds": 10**12}, "seeds: found 1000000000000; should be less than or equal to 10000"),
        ({}, {"recipe": {"epochs": 1, "batch_size": 300, "learning_rate": 0.1}, "data": "digits-small"},
         "recipe.batch_size 300 is more than the 256 training images of data set digits-small"),
        ({}, {"data": "digit"}, "data: unknown data set `digit` (did you mean `digits`?); known: cifar10"),
        ({}, {"studies": {"bad": {"data": "nowhere"}}}, "studies.bad.data: unknown data set `nowhere`"),
        ({}, {"studies": {"bad": {"levels": {"depth": []}}}},
         "studies.bad.levels.depth: a factor needs at least one level"),
        ({}, {"studies": {"bad": {"levels": {"depth": None}}}},
         "studies.bad.levels.depth: expected a list of values or a"),
        ({}, {"studies": {"bad": {"levels": {"depth": [None, [1]]}}}}, "a level is a number or a word, found None"),
        ({"factors": {"d": {"a": {"depth": 8}}}}, {"studies": {"bad": {"levels": {"d": ["a", "a"]}}}},
         "level given twice: a"),
        ({}, {"report": []}, "report: names a study at least, and each once"),
        ({}, {"report": ["bad", "bad"]}, "report: names a study at least, and each once"),
        ({}, {"studies": 5, "report": ["bad"]}, "studies: found 5; should be a mapping"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(tmp_path, study, suite, told):
    write(tmp_path / "studies" / "bad.yaml", lines_of(SHORT | study))
    write(tmp_path / "suites" / "mine.yaml", lines_of(PLAIN | {"studies": {"bad": {}}} | suite))
    outcome = planned(tmp_path, "mine", Beside)
    assert isinstance(outcome, UserError) and told in str(outcome) and "\n" not in str(outcome)


def test_a_suite_without_studies_has_no_report(tmp_path):
    write(tmp_path / "suites" / "mine.yaml", lines_of(PLAIN | {"studies": {}}))
    plan = make_plan(Own(tmp_path), "mine")
    with pytest.raises(UserError, match=r"mine.yaml: studies: the suite lists none for a report; list some"):
        plan.reported("report")


def test_lines_of_text_are_joined(tmp_path):
    text = lines_of({key: value for key, value in SHORT.items() if key != "title"})
    write(tmp_path / "studies" / "mine.yaml", f"title: |\n  Two\n  lines\n{text}")
    assert Own(tmp_path).study("mine").title == "Two lines"


@pytest.mark.parametrize(
    "content", ["", "5", "[]", "{arms: 5}", "{arms: [{levels: 5}]}", "{arms: [{levels: {depth: 8}}]}"]
)
def test_settings_found_that_were_damaged(workspace, content):
    path = write(layout.best("digits", "depth"), content)
    with pytest.raises(UserError, match=re.escape(f"{path}: ")):
        make_plan(Beside(), "digits").study("depth-tuned")


@pytest.mark.parametrize("zero", ["-0.0", "-0", "-0e5", "-1e-999"])
def test_a_zero_is_a_zero(tmp_path, zero):
    suite = small_suite("depth", special=False)
    ids = []
    for number in ("0.0", zero):
        recipe = {**suite["recipe"], "weight_decay": "HERE"}
        text = lines_of(suite | {"recipe": recipe}).replace('"HERE"', number)
        write(tmp_path / "suites" / "mine.yaml", text)
        ids.append({arm.id for arm in make_plan(Beside(tmp_path), "mine").study("depth").arms.values()})
    assert ids[0] == ids[1]


# ------------------------------------------------------------------------------------------ text in reports

HOSTILE = r"""---
title: "A <script>alert(1)</script> $a<b$"
subtitle: "[s]{onclick=alert(1)}"
author: ["<b>x</b>"]
---

A <script>alert(1)</script> [x]{onclick="alert(1)" style="color: red" .c} <img src=x onerror="alert(1)"> $a<b$
[l](javascript:alert(1)) [m](java&#9;script:alert(1)) <javascript:alert(1)> [n][ref] [p](data:text/html;base64,PHN2Zz4=)
![secret](/etc/passwd){onerror="alert(1)"} ![secret](../../secret.svg) ![secret](figures/../../secret.svg) #panic()

<div onclick="alert(1)">in a tag</div>

# Head {onclick="alert(1)"}

\begin{x}y\end{x} $\href{javascript:alert(1)}{z}$ `#panic()` [y]{#a>#panic()}

See [a page](https://example.org/x) and [](#fig-f), and `a <b> c`.

![The caption.](figures/f.svg){#fig-f alt="words" width="60%"}

[ref]: javascript:alert(2)
"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, those of the template's own head and script left out."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(re.search("<main>.*</main>", text, re.DOTALL)[0])

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def test_nothing_in_a_text_runs_or_reads_anything(workspace):
    write(workspace / "secret.svg", SVG.replace("rect", "secret"))
    write(workspace / "report" / "figures" / "f.svg", SVG)
    typesetter = Typesetter(workspace / "report", [])
    typesetter.html(HOSTILE, "report.html")
    page = Page((workspace / "report" / "report.html").read_text())
    assert not {tag for tag, _ in page.tags} & {"script", "b", "iframe", "object", "embed", "link", "style"}
    assert not [key for _, each in page.tags for key in each if key.startswith("on")]
    assert {each["style"] for _, each in page.tags if "style" in each} == {"width:60.0%"}  # of the figure
    links = [each["href"] for tag, each in page.tags if tag == "a" and "href" in each]
    assert "https://example.org/x" in links
    assert all(link == "https://example.org/x" or link.startswith("#") for link in links)
    (image,) = [each for tag, each in page.tags if tag == "img"]
    assert image["alt"] == "words" and image["src"].startswith("data:image/svg+xml")
    text = (workspace / "report" / "report.html").read_text()
    assert "root:" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "<math" in text
    typesetter.markdown(HOSTILE, "report.md", "A <script>alert(1)</script>", "s")
    text = (workspace / "report" / "report.md").read_text()
    without_code = re.sub("`[^`]*`", "", text)
    assert not re.search(r"(?<!\\)<(script|img|div|b)|\]\((javascript|data|/etc)", without_code), text
    typesetter.pdf(HOSTILE, "report.pdf", paper=False)  # `#panic()` would have stopped typst
    assert (workspace / "report" / "report.pdf").read_bytes().startswith(b"%PDF-")


def test_a_title_with_formulas_that_matplotlib_does_not_know_is_drawn():
    figure, ax = plt.subplots()
    draw_title(ax, 0.0, r"Depth of $\boldsymbol{x}$ and $\nope$")
    figure.draw_without_rendering()
    plt.close(figure)


def test_raw_html_is_refused_wherever_a_study_has_text(tmp_path):
    """What no filter can tell from the template's own."""
    study = SHORT | {"claims": {"c": CLAIM | {"statistic": "s"}}, "figures": {"f": FIGURE}}
    write(tmp_path / "studies" / "good.yaml", lines_of(study))
    assert Own(tmp_path).study("good")
    texts = [path for path in places(study) if path and path[-1] in PROSE]
    assert len(texts) == 7
    for path in texts:
        changed = copy.deepcopy(study)
        put(changed, path, "`<script>alert(1)</script>`{=html}")
        assert f"{'.'.join(path)}: found '`<script>" in refused(tmp_path, "studies", lines_of(changed))


# ------------------------------------------------------------------------------------------ --config


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"siute": "x"}, "siute: unknown key (did you mean `suite`?); allowed: suite, extra, format, "),
        ({"workers": "abc"}, "workers: found 'abc'; should be a valid integer"),
        ({"workers": 0}, "workers: found 0; should be greater than 0"),
        ({"workers": 10**9}, "workers: found 1000000000; should be less than or equal to 1000"),
        ({"workers": 1.5}, "workers: found 1.5; should be a valid integer"),
        ({"workers": True}, "workers: found True; should be a valid integer"),
        ({"runs_per_gpu": -1}, "runs_per_gpu: found -1; should be greater than 0"),
        ({"at_once": 0}, "at_once: found 0; should be greater than 0"),
        ({"gpu_wait": "soon"}, "gpu_wait: found 'soon'; should be a valid number"),
        ({"gpu_wait": math.nan}, "gpu_wait: found nan; should be a finite number"),
        ({"gpu_wait": -1}, "gpu_wait: found -1; should be greater than or equal to 0"),
        ({"format": "x"}, "format: found 'x'; should be 'course' or 'paper'"),
        ({"suite": ["a", "b"]}, "suite: found ['a', 'b']; should be a word"),
        ({"study": {"a": 1}}, "study.0: found {'a': 1}; should be a word"),
        ({"author": [""]}, "author.0: found ''; should be a text of 1,000 characters at most, and not empty"),
        ({"author": "`x`{=html}"}, "author.0: found '`x`{=html}'; `{=` begins what Markdown leaves as it is"),
    ],
)  # fmt: skip
def test_options_that_are_refused(config, told):
    with pytest.raises(UserError) as error:
        read_options(config)
    assert str(error.value).startswith(f"--config: {told}") and "\n" not in str(error.value)


def test_options():
    assert read_options({}) == read_options({"suite": None, "workers": None}) == Options()
    given = read_options({"suite": 2026, "study": "depth", "author": ["A", "B"], "gpu_wait": 1, "workers": 3})
    assert (given.suite, given.study, given.author) == ("2026", ("depth",), ("A", "B"))
    assert (given.gpu_wait, given.workers, given.format) == (1, 3, "course")


def test_the_workflow_answers_wrong_options_in_a_message(tmp_path):
    wrong = ("siute=smoke", "workers=abc", "runs_per_gpu=-1", "format=x", "at_once=0")
    output = snakemake("-n", "--config", *wrong, folder=tmp_path, check=False)
    assert len(re.findall("^--config: ", output, re.MULTILINE)) == len(wrong) and "Traceback" not in output
    assert "--config: siute: unknown key (did you mean `suite`?)" in output
    output = snakemake("-n", "--config", "suite=smoke", "study=dept", folder=tmp_path, check=False)
    assert "--config: study: found dept (did you mean `depth`?)" in output and "Traceback" not in output


# ------------------------------------------------------------------------------------------ the command line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("tain depth", "invalid choice: 'tain'"),
        ("", "the following arguments are required: VERB"),
        ("train", "name a study, or a job with --job"),
        ("train dept", "unknown study `dept` (did you mean `depth`?)"),
        ("train depth --job x", "name a study, or a job with --job"),
        ("train --job x", "unknown job `x`"),
        ("train depth --seeds -1", "--seeds: found -1; give numbers from 0 to 2^63, each once"),
        ("train depth --seeds 1 1", "--seeds: found 1, 1; give numbers from 0 to 2^63, each once"),
        ("train depth --seeds 99999999999999999999", "--seeds: found 99999999999999999999; give"),
        ("train depth --seeds x", "argument --seeds: invalid int value: 'x'"),
        ("train depth --threads 0", "--threads: found 0; give 1 to 1,000"),
        ("train depth --threads 1000000000", "--threads: found 1000000000; give 1 to 1,000"),
        ("train depth --runs-per-gpu 0", "--runs-per-gpu: found 0; give 1 to 1,000"),
        ("train depth --at-once 0", "--at-once: found 0; give 1 or more"),
        ("train depth --gpu-wait nan", "--gpu-wait: found nan; give hours, 0 or more"),
        ("train depth --gpu-wait -1", "--gpu-wait: found -1.0; give hours, 0 or more"),
        ("search depth --gpu-wait inf", "--gpu-wait: found inf; give hours, 0 or more"),
        ("train depth depth", "`depth`: levels are given as FACTOR=LEVEL, such as depth=20"),
        ("train depth depth=21", "factor depth has no level `21` in this suite; known: 8, 20, 32, 56"),
        ("train depth dept=20", "study depth has no factor `dept` (did you mean `depth`?); known: shortcut, depth"),
        ("train depth depth=8 depth=20", "`depth=20`: a level of depth is there already; give one, or none for all"),
        ("train growth_rate growth_rate=none kind=dense", "has no arm with growth_rate=none kind=dense: it skips"),
        ("train depth --extra nowhere", "nowhere: expected a folder with studies/, suites/ or datasets/ in it"),
        ("plan --suite digit", "unknown suite `digit` (did you mean `digits`?)"),
        ("prepare --data x-1", "unknown data key `x-1`; data sets: "),
        ("prepare --data digits-1", "digits.yaml has changed; now it is `digits-"),
        ("show nothing", "unknown study `nothing`; known: "),
        ("report --format x", "argument --format: invalid choice: 'x'"),
        ("report --only --author `x`{=html}", "report: author.0: found '`x`{=html}'; `{=` begins"),
        ("import " + "x" * 300, "x" * 300 + ": File name too long. Nothing is half-written"),
        ("compare a b", "a: neither a suite nor a folder"),
    ],
)  # fmt: skip
def test_wrong_commands_end_in_a_message_and_status_2(workspace, monkeypatch, capsys, arguments, told):
    monkeypatch.setattr("ablations.cli.library", lambda options: Beside(options.extra))
    try:
        status = main(arguments.split())
    except SystemExit as exit:  # argparse's own
        status = exit.code
    said = capsys.readouterr().err
    assert status == 2 and told in said, said
    assert said.strip().count("\n") == 0 or said.startswith("usage: "), said


@pytest.mark.parametrize("path", ["", " ", "pi{x}cs", "x" * 256, f"a/{'ü' * 128}/b"])
def test_a_path_that_there_cannot_be(tmp_path, path):
    told = refused(
        tmp_path, "datasets", lines_of({"title": "t", "source": "folder", "path": path, "validation": 4})
    )
    assert "path: found" in told and "should be the path of a file or folder, without braces" in told


def test_results_that_are_a_link_to_nowhere_are_one_message(workspace, capsys):
    Path("results").symlink_to("nowhere")
    assert main(["prepare", "--suite", "smoke"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("ablations: results: File exists") and told.count("\n") == 1


def test_data_are_prepared_beside_a_data_set_that_cannot_be_read(workspace, capsys):
    write(Path("my/datasets/bad.yaml"), "title: [")
    key = data_key("digits", Library().dataset("digits"))
    assert main(["prepare", "--data", key, "--extra", "my"]) == 0
    assert layout.data(key).is_file()
    assert main(["prepare", "--data", "bad-1", "--extra", "my"]) == 2
    assert capsys.readouterr().err.startswith("ablations: my/datasets/bad.yaml, line 1")
