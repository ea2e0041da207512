"""The hyperparameters that a search varies: a dimension a field of recipe or model, as a study's YAML writes them,
`learning_rate: {low: 0.003, high: 0.3, log: true}` or `batch_size: [16, 32, 64]`, and where it is asked only for some
values of another, `momentum: {low: 0.5, high: 0.98, when: {optimiser: sgd}}`."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from ablations.schema import OneOrSeveral, Scalar, Sequence, Strict, shown

Number = int | float
Condition = dict[str, OneOrSeveral]  # values of other fields, by their paths
MOST_STEPS = 1_000_000  # of a range
MOST_CHOICES = 100  # each is tried with an arm before a search begins


class Range(Strict):
    """Numbers from `low` to `high`, both included; whole numbers where both are. `log`: even on a logarithmic scale;
    `step`: only low, low + step, ... ."""

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None
    when: Condition = {}

    @field_validator("low", "high", "step", mode="before")
    @classmethod
    def numbers(cls, value: Any) -> Any:
        if value is not None and (isinstance(value, bool) or not isinstance(value, Number)):
            raise ValueError("should be a number")
        return value

    @model_validator(mode="after")
    def consistent(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"`low` is below `high`, found {shown(self.low)} and {shown(self.high)}")
        if self.log and self.low <= 0:
            raise ValueError(f"`low` of a logarithmic range is above 0, found {shown(self.low)}")
        if self.log and self.step is not None:
            raise ValueError("give `log` or `step`, not both")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"`step` is above 0 and fits between `low` and `high`, found {shown(self.step)}")
        if self.step is not None and self.high - self.low > self.step * MOST_STEPS:
            raise ValueError(f"there are more than {MOST_STEPS:,} steps of {shown(self.step)} up to `high`")
        if self.whole and isinstance(self.step, float):
            raise ValueError(f"`step` between whole numbers is one, found {shown(self.step)}")
        # By the decimals that are written, as Optuna does: it would leave out a `high` that is off by rounding.
        low, high, step = (Decimal(str(each or 0)) for each in (self.low, self.high, self.step))
        if step and (high - low) % step:
            raise ValueError(
                f"`high` is `low` and some steps, found {shown(self.low)}, {shown(self.high)} and {shown(self.step)}"
            )
        return self

    def __str__(self) -> str:
        told = f"from {self.low:g} to {self.high:g}"
        if self.log:
            return f"{told} on a logarithmic scale"
        return told + (f" in steps of {self.step:g}" if self.step else "")

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """The values between which all others lie."""
        return self.low, self.high

    def has(self, value: Any) -> bool:
        """Whether a value is one of its own."""
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not self.low <= value <= self.high
            or (self.whole and value != round(value))
        ):
            return False
        steps = (value - self.low) / self.step if self.step else 0
        return abs(steps - round(steps)) < 1e-9


class Choice(Strict):
    """One of some values."""

    choices: Annotated[Sequence(Scalar), Field(max_length=MOST_CHOICES)]
    when: Condition = {}

    @field_validator("choices", mode="before")
    @classmethod
    def scalars(cls, choices: Any) -> Any:
        for choice in choices if isinstance(choices, list) else ():
            if not isinstance(choice, Scalar):
                raise ValueError(f"a value is a number, a word, true or false, found {shown(choice)}")
        return choices

    @model_validator(mode="after")
    def several(self) -> Choice:
        if len(set(self.choices)) < max(2, len(self.choices)):  # 1, 1.0 and true are the same to Optuna
            raise ValueError(f"give two different values or more, found {shown(list(self.choices))}")
        return self

    def __str__(self) -> str:
        return "one of " + ", ".join(map(str, self.choices))

    @property
    def ends(self) -> tuple[Scalar, ...]:
        """All of its values."""
        return self.choices

    def in_table(self, text: str) -> Scalar | None:
        """The value that a table has in this form: in a column with empty cells, whole numbers have a point. None for
        any other text."""
        numbers = {str(float(each)): each for each in self.choices if isinstance(each, int | float)}
        return ({str(each): each for each in self.choices} | numbers).get(text)

    def has(self, value: Any) -> bool:
        """Whether a value is one of its own."""
        return any(
            value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in self.choices
        )


Dimension = Range | Choice


def parse(raw: Any, fractions: bool) -> Dimension:
    """A dimension from its YAML form: a list of values is a choice. `fractions`: of a field that takes them, so that
    0 to 1 has values in between. ValueError for anything else than a list and a mapping."""
    if isinstance(raw, list):
        return Choice.model_validate({"choices": raw})
    if not isinstance(raw, Mapping):
        raise ValueError(
            f"expected a list of values, or a mapping such as {{low: 0.01, high: 1, log: true}}, found {shown(raw)}"
        )
    if "choices" in raw:
        return Choice.model_validate(raw)
    if fractions:
        raw = {key: float(value) if type(value) is int else value for key, value in raw.items()}
    return Range.model_validate(raw)
