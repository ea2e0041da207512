"""What all validated types have in common, and how their faults are told."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from ablations.errors import UserError

# Bounds are generous: beyond them a number is a slip, which memory, the time that planning takes or torch would
# answer less clearly.
MOST = 10_000_000  # images, epochs, units
Positive = Annotated[int, Field(gt=0, le=MOST)]
Amount = Annotated[float, Field(ge=0, le=1000)]  # strengths and rates: torch's 32 bits overflow far beyond
PositiveAmount = Annotated[float, Field(gt=0, le=1000)]

MOST_FAULTS = 20  # that are told of a file
LONGEST_FAULT = 2000  # characters
MOST_NAMES = 40  # that are told of those that are known


def Sequence(item: type) -> Any:
    """A tuple in the type, a list in YAML."""
    return Annotated[tuple[item, ...], Field(strict=False)]


# ------------------------------------------------------------------------------------------ words

LONGEST_NAME = 100  # files are called so
NAME = re.compile(r"[a-z0-9][a-z0-9-]*|[a-z0-9][a-z0-9_]*")
LONGEST_LABEL = 100  # stands in tables and figures
MARKUP = re.compile(r"[|*`\[\]{}<>$\\#@^~]|^[_\s]|[_\s]$|\s\s")  # of Markdown, HTML, TeX and typst
LONGEST_LINE = 1000
# Where raw HTML or typst begins in the report's Markdown: a report runs nothing that a study brings.
RAW = re.compile(r"\{\s*=")
# What could swallow the text behind it: fences, and the dashes of settings for pandoc.
FENCE = re.compile(r"^[\s>]*(```|~~~|:::|---\s*$|\.\.\.\s*$)", re.MULTILINE)


def is_name(text: str) -> bool:
    """Whether files, columns and places in the report can be called so."""
    return bool(NAME.fullmatch(text)) and len(text) <= LONGEST_NAME


def as_name(text: str) -> str:
    """A name. ValueError where it is none."""
    if not is_name(text):
        raise ValueError(
            f"a name is small letters and digits, with dashes or underscores, {LONGEST_NAME} at most, such as "
            f"{name_like(text)}"
        )
    return text


def name_like(text: str) -> str:
    """A name that is like a text."""
    return re.sub("[^a-z0-9]+", "-", text.lower())[:LONGEST_NAME].strip("-") or "name"


def as_line(text: str) -> str:
    """Markdown in a line, however it was broken into lines. ValueError where it is empty, long or holds raw HTML."""
    joined = " ".join(text.split())
    if not joined or len(joined) > LONGEST_LINE:
        raise ValueError(f"should be a text of {LONGEST_LINE:,} characters at most, and not empty")
    return without_raw(joined)


def without_raw(text: str) -> str:
    """Markdown. ValueError where it holds raw HTML or typst."""
    if match := RAW.search(text):
        raise ValueError(f"`{match[0]}` begins what Markdown leaves as it is, such as HTML; leave it out")
    return text


def as_paragraphs(text: str) -> str:
    """Markdown of paragraphs, lists and formulas. ValueError where it holds more."""
    if match := FENCE.search(text):
        raise ValueError(f"a line begins with `{match[1]}`: write paragraphs, lists and formulas only")
    return without_raw(text)


Name = Annotated[str, AfterValidator(as_name)]
Line = Annotated[str, AfterValidator(as_line)]
Paragraphs = Annotated[str, AfterValidator(as_paragraphs)]

Scalar = bool | int | float | str


def one(value: Any) -> Any:
    """A number, a word, true or false; a fault of its own for anything else, not one for each of these."""
    if not isinstance(value, Scalar):
        raise PydanticCustomError("scalar_type", "should be a number, a word, true or false")
    return value


def one_or_several(value: Any) -> Any:
    """The same, or a list of them."""
    for each in value if isinstance(value, list) else [value]:
        one(each)
    return value


One = Annotated[Scalar, BeforeValidator(one)]
OneOrSeveral = Annotated[Scalar | list[Scalar], BeforeValidator(one_or_several)]


# ------------------------------------------------------------------------------------------ types and their faults


class Strict(BaseModel):
    """No unknown keys, no silent conversions (`"12"` is no number, `true` is not 1), no NaN; immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def validate(kind: type[Strict], raw: Any, where: Path | str) -> Any:
    """`raw` as a frozen `kind`. UserError lists faults with their key path, the first of many."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        faults = list(dict.fromkeys(fault(kind, details) for details in error.errors()))
        lines = [f"{where}: {cut(line, LONGEST_FAULT)}" for line in faults[:MOST_FAULTS]]
        if len(faults) > MOST_FAULTS:
            lines.append(f"{where}: and {len(faults) - MOST_FAULTS} more")
        raise UserError("\n".join(lines)) from None


# What pydantic calls by the names of Python's types.
IN_YAML = {
    "tuple_type": "should be a list",
    "list_type": "should be a list",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
    "string_type": "should be a word or text (in quotes, if it looks like a number)",
    "invalid_key": "a key is a word (in quotes, if it looks like a number)",
}


def fault(kind: type[Strict], details: Mapping[str, Any]) -> str:
    """One line: key path, what was found, what is allowed."""
    place = [str(part) for part in details["loc"] if not str(part).startswith(("function-", "tagged-"))]
    is_key = place[-1:] == ["[key]"]
    path = ".".join(place[:-1] if is_key else place)
    if details["type"] == "extra_forbidden":
        known = known_keys(kind, place[:-1])
        return f"{path}: unknown key{suggestion(place[-1], known)}; allowed: {', '.join(known)}"
    if details["type"] == "missing":
        return f"{path}: missing"
    if not place and details["type"] == "model_type":
        return f"expected a mapping with the keys {', '.join(kind.model_fields)}; found {shown(details['input'])}"
    message = (
        details["msg"]
        .removeprefix("Value error, ")
        .replace("Input should", "should")
        .replace("Tuple should", "should")
    )
    message = IN_YAML.get(
        "invalid_key" if is_key and details["type"] == "string_type" else details["type"], message
    )
    if isinstance(details["input"], Scalar | None) or details["type"] != "value_error":
        message = f"found {shown(details['input'])}; {message}"
    return f"{path}: {message}" if place else message


def known_keys(kind: type[Strict], place: Iterable[str]) -> list[str]:
    """The fields allowed at a key path."""
    for part in place:
        field = kind.model_fields.get(part)
        if field is None:
            continue  # a name in a dict: its value has the dict's value type, found below
        candidates = [field.annotation, *get_args(field.annotation)]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, Strict)]
        kind = models[0] if models else kind
    return list(kind.model_fields)


def suggestion(word: str, known: Iterable[str]) -> str:
    """` (did you mean ...?)` where a known word is close, else nothing."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (did you mean `{close[0]}`?)" if close else ""


def names(known: Iterable[str]) -> str:
    """Those that are known, the first of many."""
    known = list(known)
    more = len(known) - MOST_NAMES
    return ", ".join(known[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    return cut(repr(value), 60)


def cut(text: str, letters: int) -> str:
    """A text, or its beginning where it is longer."""
    return text if len(text) <= letters else f"{text[: letters - 3]}..."
