"""What all validated types have in common, and how their faults are told."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ablations.errors import UserError

Positive = Annotated[int, Field(gt=0)]


def Sequence(item: type) -> Any:
    """A tuple in the type, a list in YAML."""
    return Annotated[tuple[item, ...], Field(strict=False)]


class Strict(BaseModel):
    """No unknown keys, no silent conversions (`"12"` is no number, `true` is not 1), no NaN; immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def validate(kind: type[Strict], raw: Any, where: Path | str) -> Any:
    """`raw` as a frozen `kind`. UserError lists every fault with its key path."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        faults = [fault(kind, details) for details in error.errors()]
        raise UserError("\n".join(f"{where}: {line}" for line in dict.fromkeys(faults))) from None


def fault(kind: type[Strict], details: Mapping[str, Any]) -> str:
    """One line: key path, what was found, what is allowed."""
    place = [str(part) for part in details["loc"] if not str(part).startswith(("function-", "tagged-"))]
    path = ".".join(place)
    if details["type"] == "extra_forbidden":
        known = known_keys(kind, place[:-1])
        return f"{path}: unknown key{suggestion(place[-1], known)}; allowed: {', '.join(known)}"
    if details["type"] == "missing":
        return f"{path}: missing"
    if not place and details["type"] == "model_type":
        return f"expected a mapping with the keys {', '.join(kind.model_fields)}; found {shown(details['input'])}"
    message = details["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    if isinstance(details["input"], str | int | float | bool | None):
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


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
