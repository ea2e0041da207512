"""What `snakemake --config KEY=VALUE ...` takes. A field a key: its type says what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ablations.schema import Line, Scalar, Sequence, Strict, validate

Several = Annotated[int, Field(gt=0, le=1000)]  # processes; a machine with more is not meant


def as_text(value: Any) -> Any:
    """Text, of a name that Snakemake has taken for a number: `suite=2026`."""
    return str(value) if isinstance(value, Scalar) else value


def as_texts(value: Any) -> Any:
    """A list of texts, of one or several."""
    return [as_text(each) for each in (value if isinstance(value, list) else [value])]


def as_truth(value: Any) -> Any:
    """True or false, of the words."""
    return {"true": True, "false": False}.get(str(value).lower(), value)


Text = Annotated[str, BeforeValidator(as_text)]
Texts = Annotated[Sequence(str), BeforeValidator(as_texts)]
Lines = Annotated[Sequence(Line), BeforeValidator(as_texts)]


class Options(Strict):
    """The keys of `--config`, or of a file given with `--configfile`."""

    suite: Text = "digits"
    extra: Text | None = None  # a folder with definitions of one's own
    format: Literal["course", "paper"] = "course"  # of the PDF: in one column, or in two
    author: Lines = ()  # named under the title, one or several
    study: Texts = ()  # that `search` tunes; all of the report that have a search if not given
    workers: Several | None = None  # of a search; one for each core if not given
    storage: Text = ""  # address of a database for the trials of several machines, without its password
    runs_per_gpu: Several = 1  # training processes that may share a GPU
    gpu_wait: Annotated[float, Field(ge=0, le=10_000)] = 24.0  # hours to wait for a GPU while all are taken
    at_once: Several | None = None  # seeds that a training process trains at the same time
    yes: Annotated[bool, BeforeValidator(as_truth)] = (
        False  # train, even if it is more than the budget of the suite
    )
    budget_runs: int | None = None  # or another budget; the suite's holds where none is given
    budget_hours: float | None = None
    budget_disk_gb: float | None = None


def read_options(config: Mapping[str, Any]) -> Options:
    """The options of a configuration; keys without a value are left at their default. UserError names the key."""
    given = {key: value for key, value in config.items() if value is not None}
    return validate(Options, given, "--config")
