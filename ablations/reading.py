"""YAML files as plain data: words, numbers, true and false, lists and mappings. Whatever else a file holds, or however
large, deep or entangled it is, is answered with one message that names the line."""

from __future__ import annotations

import codecs
import copy
import math
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.composer import Composer, MaxDepthExceededError
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ablations.errors import UserError
from ablations.schema import cut

LARGEST = 100_000  # bytes: twenty times the longest file of the package; the parser takes seconds for so many
DEEPEST = 20  # a level's list in a study of a suite is eight deep
MOST_COPIED = 10_000  # values that aliases stand for: ten lines of them can stand for billions
LONGEST_KEY = 200
LARGEST_NUMBER = 2**63  # what arrays, tables and databases hold
OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # of UTF-32 too


class Refused(MarkedYAMLError):
    """Valid YAML that no file of ours needs."""


def refuse(problem: str, node: Any) -> None:
    """Raise Refused at the place of a node or event."""
    raise Refused(problem=problem, problem_mark=node.start_mark)


class PlainComposer(Composer):
    """Nodes of YAML 1.2, whose keys are words and numbers, each there once; aliases stand for what is whole, and not
    for too much of it."""

    copied = 0

    def compose_document(self) -> Node:
        start = self.parser.peek_event()
        if start.version not in (None, (1, 2)):
            refuse("only YAML 1.2 is read, in which `no` is a word; leave out the line %YAML", start)
        return super().compose_document()

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                refuse("a key is a word or a number, found a list or mapping", key)
            if len(key.value) > LONGEST_KEY or "\n" in key.value or "\t" in key.value:
                refuse(f"a key is a line of {LONGEST_KEY} characters at most", key)
            if (str(key.tag), key.value) in seen:
                refuse(f"the key `{key.value}` is there twice", key)
            seen.add((str(key.tag), key.value))
        return node

    def return_alias(self, node: Node) -> Node:
        if not isinstance(node, ScalarNode) and node.end_mark is None:
            refuse(f"`&{node.anchor}` holds itself, by an alias `*{node.anchor}` in it", node)
        self.copied += sum(1 for _ in within(node))
        if self.copied > MOST_COPIED:
            refuse(
                f"aliases stand for more than {MOST_COPIED:,} values, with `*{node.anchor}`; write less", node
            )
        return node


def within(node: Node) -> Iterator[Node]:
    """A node and all nodes in it."""
    yield node
    children = node.value if isinstance(node, SequenceNode) else ()
    if isinstance(node, MappingNode):
        children = (child for pair in node.value for child in pair)
    for child in children:
        yield from within(child)


class PlainConstructor(SafeConstructor):
    """Plain values only. Dates stay words."""

    yaml_constructors = {
        f"tag:yaml.org,2002:{kind}": getattr(SafeConstructor, f"construct_yaml_{made}")
        for kind, made in {
            **{each: each for each in ("null", "bool", "int", "float", "str", "seq", "map")},
            **dict.fromkeys(("timestamp", "value"), "str"),
        }.items()
    }

    def construct_non_recursive_object(self, node: Node, tag: str | None = None) -> Any:
        if node.tag not in self.yaml_constructors:
            refuse(f"the tag {node.tag} is not taken; leave it out", node)
        try:
            value = super().construct_non_recursive_object(node, tag)
        except (ValueError, LookupError):
            refuse(f"`{cut(node.value, 40)}` is no {str(node.tag).rpartition(':')[2]}", node)
        if isinstance(value, str) and (place := unshown(value)) is not None:
            refuse(f"found the character {code(value[place])}; leave it out", node)
        if isinstance(value, int | float) and not abs(value) < LARGEST_NUMBER:
            refuse(f"found {cut(node.value, 40)}; a number lies between -2^63 and 2^63", node)
        return 0.0 if isinstance(value, float) and value == 0 else value  # -0.0 would be another run


def unshown(text: str) -> int | None:
    """The place of the first character that cannot be seen and is no space, tab or end of a line, if there is one:
    it breaks lines, tables and the figures' XML, turns text round, or cannot be written at all."""
    for place, character in enumerate(text if not text.isprintable() else ""):
        if not (character.isprintable() or character in "\n\t" or unicodedata.category(character) == "Zs"):
            return place
    return None


def code(character: str) -> str:
    """A character that cannot be shown, by its number."""
    return f"U+{ord(character):04X}"


def read_yaml(path: Path, largest: float = LARGEST) -> Any:
    """Plain data from a YAML 1.2 file of at most so many bytes; no code in it can run. UserError names file and
    line."""
    text = read_text(path, largest)
    try:
        return copy.deepcopy(parsed(text))
    except YAMLError as error:
        raise UserError(f"{path}{told(error)}") from None


@lru_cache(maxsize=256)  # every command reads all studies, some several times, and the parser is slow
def parsed(text: str) -> Any:
    """Plain data from YAML 1.2. YAMLError names the line."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.Constructor, yaml.max_depth = PlainComposer, PlainConstructor, DEEPEST
    yaml.composer.warn_double_anchors = False
    return yaml.load(text)


def read_text(path: Path, largest: float = math.inf) -> str:
    """The text of a UTF-8 file, with or without a byte order mark. UserError where it cannot be read, is larger, or
    holds characters that no text has."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a file")
    try:
        size = path.stat().st_size
        if size > largest:
            raise UserError(f"{path}: {size:,} bytes; such a file has at most {largest:,}. Split it")
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        found = "UTF-16" if raw.startswith(OTHER_ENCODINGS) else f"{error.reason} at byte {error.start}"
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text ({found}); save it as UTF-8") from None
    if (place := unshown(text)) is not None:
        line = text.count("\n", 0, place) + 1
        raise UserError(
            f"{path}, line {line}: found the character {code(text[place])}; save it as plain text"
        )
    return text


def told(error: YAMLError) -> str:
    """Where something is wrong in a file, and what."""
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    if isinstance(error, MaxDepthExceededError):
        return f"{where}: lists and mappings lie more than {DEEPEST} deep in each other; none of ours does"
    problem = " ".join(str(getattr(error, "problem", None) or error).split())
    return f"{where}: {'' if isinstance(error, Refused) else 'not valid YAML: '}{cut(problem, 300)}"
