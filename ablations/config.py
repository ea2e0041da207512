"""The vocabulary as frozen, validated types, read from YAML.

A definition is a YAML file in a folder `studies/`, `suites/` or `datasets/`; its name is the file's name.
The package brings its own; `Library(extra="my")` looks into `my/studies/` and so on as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, ValidationError, create_model, field_validator, model_validator

from ablations.errors import UserError
from ablations.networks import FAMILIES
from ablations.reading import read_text, read_yaml
from ablations.schema import (
    LONGEST_LABEL,
    MARKUP,
    Amount,
    Line,
    Name,
    One,
    OneOrSeveral,
    Paragraphs,
    Positive,
    PositiveAmount,
    Scalar,
    Sequence,
    Strict,
    fault,
    is_name,
    names,
    shown,
    suggestion,
    validate,
)
from ablations.space import Choice, Dimension, Range, parse

Levels = OneOrSeveral  # of a factor: one, or a group of them
Part = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Percent = Annotated[float, Field(ge=0, le=100)]
Pixels = Annotated[int, Field(ge=0, le=1000)]  # padding a batch by more takes all memory
Seeds = Annotated[int, Field(gt=0, le=10_000)]  # each is a run of every arm
Trials = Annotated[int, Field(gt=0, le=10_000)]  # Optuna's sampler looks at all trials before each
SamplerSeed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy takes


# ------------------------------------------------------------------------------------------ what is trained


def as_place(path: str) -> str:
    """The path of a file or folder. ValueError where there can be none, or Snakemake would take it for a pattern."""
    if (
        not path.strip()
        or set("{}\0") & set(path)
        or any(len(part.encode()) > 255 for part in path.split("/"))
    ):
        raise ValueError(
            "should be the path of a file or folder, without braces, of 255 bytes at most in each part"
        )
    return path


Place = Annotated[str, AfterValidator(as_place)]


class Dataset(Strict):
    """Where images come from and how they are split. Everything but the title can change numbers."""

    title: Line
    source: Literal["digits", "cifar10", "cifar100", "parquet", "folder"]
    # folder: it, or an archive; parquet: that with train*.parquet and test*.parquet
    path: Place | None = None
    size: Positive | None = None  # parquet, folder: pixels of a side that images are cropped and resized to
    train: Positive | None = None  # images kept for training; all that validation leaves if not given
    validation: Positive  # images taken from the training part, to select by
    test: Positive | None = None  # images kept for the test; all of the test part if not given
    noise: Amount = 0.0  # Gaussian, in standard deviations of the pixels, added once

    @model_validator(mode="after")
    def path_where_needed(self) -> Dataset:
        own = self.source in ("parquet", "folder")
        if own != (self.path is not None):
            raise ValueError("`path` belongs to sources `parquet` and `folder`, and only there")
        if self.size is not None and not own:
            raise ValueError("`size` belongs to sources `parquet` and `folder`, and only there")
        return self


class Recipe(Strict):
    """How a network is trained: what lowers the cross-entropy, at which pace, on which views of the images."""

    epochs: Positive
    batch_size: Positive
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: PositiveAmount  # the highest, reached after the warm-up
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # of adam: beta_1; its beta_2 is 0.999
    nesterov: bool = False
    weight_decay: Amount = 1e-4  # on every parameter
    # What is subtracted: `l2` adds w to the gradient, `l1` the sign of w, `decoupled` shrinks w by itself.
    weight_decay_kind: Literal["l2", "decoupled", "l1"] = "l2"
    schedule: Literal["step", "cosine", "constant"] = "cosine"
    milestones: Sequence(Annotated[float, Field(gt=0, lt=1)]) = (
        0.5,
        0.75,
    )  # of `step`: parts of the training
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1  # of `step`: factor at each milestone
    warmup: NotNegative = 0.0  # epochs of linear growth from zero
    patience: Positive | None = (
        None  # epochs without a lower validation error that end a run (early stopping)
    )
    crop_padding: Pixels = 0  # pixels of zero padding for random crops
    flip: bool = False  # random horizontal flips
    rand_augment: Annotated[int, Field(ge=0, le=4)] = 0  # operations of RandAugment on an image
    rand_augment_magnitude: Annotated[int, Field(ge=0, le=30)] = 9  # of each, 30 the strongest
    cutout: Pixels = 0  # side of a square of zeros at a random place
    mixup: Amount = 0.0  # alpha of the Beta distribution that mixes two images
    cutmix: Amount = 0.0  # alpha of the Beta distribution of the part that a box of another image takes
    random_labels: Part = 0.0  # part of the training images whose label is drawn anew, once for each seed
    regularise_from: Part = 0.0  # dropout and its kin are active in this part of the training only
    regularise_until: Part = 1.0
    norm_statistics: Literal["running", "pass"] = "running"  # batch norm's for the final metrics
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: autocast, weights stay fp32
    deterministic: bool = True  # false: on a GPU faster algorithms, whose results differ from run to run
    compile: bool = False  # torch.compile of the network
    memory_format: Literal["channels_last", "contiguous"] = "channels_last"  # how activations lie in memory

    @model_validator(mode="after")
    def consistent(self) -> Recipe:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"`milestones` must rise, found {list(self.milestones)}")
        if self.regularise_from > self.regularise_until:
            raise ValueError("`regularise_from` is after `regularise_until`")
        if self.warmup > self.epochs:
            raise ValueError(f"`warmup` is longer than the training: {self.warmup} > {self.epochs} epochs")
        if self.nesterov and self.optimiser != "sgd":
            raise ValueError(f"`nesterov` belongs to sgd, found {self.optimiser}")
        if self.mixup and self.cutmix:
            raise ValueError("give `mixup` or `cutmix`, not both")
        return self


def changes(name: str, *kinds: type[Strict]) -> type[Strict]:
    """The fields of these types, each optional: what a suite or study sets of a recipe or model. Where several
    types share a field, its value is checked with the arm it ends in."""
    fields: dict[str, Any] = {}
    for kind in kinds:
        for key, field in kind.model_fields.items():
            fields[key] = (Any, None) if key in fields else (Annotated[field.annotation, field], None)
    return create_model(name, __base__=Strict, **fields)


ModelChanges = changes("ModelChanges", *FAMILIES.values())
RecipeChanges = changes("RecipeChanges", Recipe)


def set_fields(part: Strict) -> dict[str, Any]:
    """Only what the file spelled out."""
    return part.model_dump(exclude_unset=True)


# ------------------------------------------------------------------------------------------ what is compared


MOST_LEVELS = 1000


class Level(Strict):
    """One value of a factor and the fields it sets, by path: `{"model.depth": 20}`."""

    label: str
    settings: dict[str, Any]


class Factor(Strict):
    """What a study varies. In YAML a list of values for the field of the factor's name (`depth: [8, 20]`),
    or a mapping from labels to the fields they set (`deep: {model.depth: 56, recipe.epochs: 20}`)."""

    field: str | None  # the field that a list of values sets; None for a mapping
    levels: Sequence(Level)


def settable() -> dict[str, str]:
    """Path of every field of model and recipe, by its bare name and by its path."""
    kinds = (("model", ModelChanges), ("recipe", Recipe))
    paths = [f"{part}.{name}" for part, kind in kinds for name in kind.model_fields]
    return {key: path for path in paths for key in (path, path.partition(".")[2])}


def parse_factor(factor: str, levels: Any) -> Factor:
    """A factor from its YAML form; ValueError where a field does not exist or a level is there twice."""
    known = settable()

    def path(field: str) -> str:
        if field not in known:
            raise ValueError(f"`{field}` is no field of model or recipe{suggestion(field, known)}")
        return known[field]

    if isinstance(levels, list):
        field = path(factor)
        parsed = [Level(label=label(value), settings={field: value}) for value in levels]
    elif isinstance(levels, Mapping):
        field = None
        parsed = [
            Level(label=label(key), settings={path(f): value for f, value in mapping(key, fields).items()})
            for key, fields in levels.items()
        ]
    else:
        raise ValueError(f"expected a list of values or a mapping of labels to fields, found {shown(levels)}")
    return with_labels(field, parsed)


def with_labels(field: str | None, levels: list[Level]) -> Factor:
    """A factor of these levels. ValueError where there are none or too many, or where their labels cannot be told
    apart, in claims, tables and figures."""
    if not 0 < len(levels) <= MOST_LEVELS:
        found = f", found {len(levels):,}" if levels else ""
        raise ValueError(f"a factor needs at least one level, and has {MOST_LEVELS:,} at most{found}")
    labels = [level.label for level in levels]
    for each in labels:
        if not each or len(each) > LONGEST_LABEL or MARKUP.search(each):
            raise ValueError(
                f"level {shown(each)}: a level has 1 to {LONGEST_LABEL} characters, no space or _ at its ends, and "
                "none of | * ` [ ] { } < > $ \\ # @ ^ ~"
            )
    if doubled := sorted({each for each in labels if labels.count(each) > 1}):
        raise ValueError(f"level given twice: {names(doubled)}")
    for end, place in (("first", 0), ("last", -1)):
        if end in labels and labels[place] != end:
            raise ValueError(
                f"level {end}: claims call the {end} level so; put it there, or call it otherwise"
            )
    return Factor(field=field, levels=tuple(levels))


def listed(value: Scalar | list[Scalar]) -> list[Scalar]:
    """One level or several, as a list."""
    return value if isinstance(value, list) else [value]


def mapping(key: Any, fields: Any) -> Mapping[str, Any]:
    """The fields that a level sets. ValueError where it is no mapping."""
    if not isinstance(fields, Mapping):
        raise ValueError(f"level `{key}`: expected the fields it sets, found {shown(fields)}")
    return fields


def label(value: Any) -> str:
    """A level as written in tables and file names."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if not isinstance(value, int | float | str):
        raise ValueError(f"a level is a number or a word, found {shown(value)}")
    return f"{value:g}" if isinstance(value, float) else str(value)


def with_minus(number: str) -> str:
    """A number with a minus for the hyphen before it."""
    return f"−{number[1:]}" if number.startswith("-") else number


def words(name: str) -> str:
    """A name from YAML as prose."""
    return name.replace("_", " ")


def listing(parts: list[str]) -> str:
    """`a, b and c`."""
    *first, last = parts or [""]
    return f"{', '.join(first)} and {last}" if first else last


# Columns of the tables of runs, trials and diagnostics, beside factors and the metrics below.
COLUMNS = {
    "study", "network", "run", "arm", "seed", "status", "epoch", "step", "front",
    "trial", "place", "state", "reason", "started", "worker", "runs",
    "panel", "position", "across", "value",
    "train_images", "validation_images", "test_images",
    "device", "threads", "execution", "at_once", "torch", "python", "packages", "commit", "dirty",
}  # fmt: skip
# Those that claims and figures may be about, with their unit.
METRICS = {
    "train_error": "training error (%)",
    "train_loss": "training loss",
    "validation_error": "validation error (%)",
    "validation_loss": "validation loss",
    "test_error": "test error (%)",
    "test_loss": "test loss",
    "gap": "test minus training error (pp)",
    "gradient_norm": "gradient norm",  # of the last epoch's last batch
    "sparsity": "weights near zero (%)",
    "epochs_trained": "epochs trained",
    "measured_epoch": "epoch measured",  # whose weights the metrics are of
    "images_per_second": "training speed (images/s)",
    "milliseconds_per_step": "training step (ms)",
    "seconds": "time of a run (s)",
    "seconds_to_target": "time to the target error (s)",
    "peak_memory_mb": "peak memory (MB)",
    "macs": "multiply-adds an image",
    "norm_ops": "operations of norms an image",
    "parameters": "parameters",
    "activations": "activations an image",
}
Metric = Literal[*METRICS]


def named(metric: str) -> tuple[str, str]:
    """A metric's name and its unit, empty for a plain number."""
    name, _, unit = METRICS[metric].partition(" (")
    return name, unit.removesuffix(")")


# The keys that claims of each kind take beside those that all take.
KINDS_OF_CLAIM = {
    "greater": {"arm", "than"},
    "less": {"arm", "than"},
    "not_greater": {"arm", "than"},
    "equivalent": {"arm", "than"},
    "fails": {"arm", "threshold"},
    "trend": {"arm", "factor", "direction"},
    "crossover": {"arm", "than", "factor", "at"},
}


class Claim(Strict):
    """A statement about arms. `arm` and `than` give a level of every factor, or a list of levels whose arms are taken
    together; `first` and `last` are those of the suite.

    `greater`, `less`: the metric of `arm` is above, below that of `than`, and the difference matters.
    `fails`: the arm does not train: its metric is above `threshold`; a diverged run counts as guessing.
    `trend`: over the levels of `factor` in their order the metric `rises` or `falls`, by the straight line over them,
    the other factors at the levels of `arm`.
    `crossover`: at the first of the two levels `at` of `factor` the metric of `arm` is above that of `than`, at the
    second below it; `arm` and `than` give levels of the other factors.
    `not_greater`: the metric of `arm` is not above that of `than` by `margin` or more.
    `equivalent`: it is neither above nor below it by so much.

    Those that state a difference are supported where one of 0 or less is rejected and the one seen reaches `margin`
    (whether the true one does is not tested), and refuted where one of `margin` or more is rejected."""

    statement: Line
    short: Line | None = None  # a form of it for figures, of half a line
    kind: Literal[*KINDS_OF_CLAIM]
    metric: Metric
    arm: dict[str, Levels] = {}
    than: dict[str, Levels] | None = None
    threshold: float | None = None  # fails: in the metric's unit
    factor: Name | None = None
    direction: Literal["rises", "falls"] | None = None
    at: Annotated[Sequence(One), Field(min_length=2, max_length=2)] | None = None
    margin: NotNegative  # the smallest difference that matters, in the metric's unit
    source: Line  # key in report/references.bib
    published: Line  # the figures printed there, with network and data
    statistic: Line | None = None  # what these figures are: medians of 5 runs, best epoch, ...

    @model_validator(mode="after")
    def keys_of_kind(self) -> Claim:
        takes = KINDS_OF_CLAIM[self.kind]
        for key in ("than", "threshold", "factor", "direction", "at"):
            given = getattr(self, key) is not None
            if given != (key in takes):
                fault = "does not belong to" if given else "is missing for"
                raise ValueError(f"`{key}` {fault} kind {self.kind}, which takes {', '.join(sorted(takes))}")
        if self.kind == "equivalent" and self.margin == 0:
            raise ValueError(
                "`margin` of kind equivalent is above 0, found 0: nothing is equal to the last digit"
            )
        if self.at is not None and label(self.at[0]) == label(self.at[1]):
            raise ValueError(f"`at` takes two levels, found {shown(self.at[0])} twice")
        return self

    @property
    def of_absence(self) -> bool:
        """Whether the claim states that no difference matters."""
        return self.kind in ("not_greater", "equivalent")

    @model_validator(mode="after")
    def statistic_of_figures(self) -> Claim:
        if "%" in self.published and not self.statistic:
            raise ValueError("`published` has figures: give their `statistic`, such as `medians of 5 runs`")
        return self

    @property
    def in_print(self) -> str:
        """The published figures with the statistic that they are."""
        return self.published + (f"; {self.statistic}" if self.statistic else "")


COSTS = ("macs", "parameters", "seconds")  # of an arm; seconds: the time that training a run takes


class Figure(Strict):
    """`levels`: metrics against a factor's levels; `cost`: a metric against costs, with the Pareto front; `curves`: it
    against epochs. A panel a metric of `levels`, a cost of `cost`, a level of the factor `panels` of `curves`."""

    kind: Literal["levels", "curves", "cost"]
    x: Sequence(Name) = ()  # levels: a factor; cost: one cost or several
    y: Sequence(Metric)
    colour: Name  # the factor that the colours tell apart
    panels: Name | None = None  # curves: a factor; all arms in one panel if not given
    title: Line  # what the figure shows, for captions

    @field_validator("x", mode="before")
    @classmethod
    def one_or_several(cls, x: Any) -> Any:
        return [x] if isinstance(x, str) else x

    @model_validator(mode="after")
    def axes(self) -> Figure:
        if not self.y or len(set(self.y)) < len(self.y):
            raise ValueError("`y` needs at least one metric, and each once")
        if self.kind == "levels" and len(self.x) != 1:
            raise ValueError("a figure of levels takes a factor as `x`")
        if self.kind == "cost" and (
            not self.x or not set(self.x) <= set(COSTS) or len(set(self.x)) < len(self.x)
        ):
            raise ValueError(
                f"`x` of a cost figure is macs, parameters or seconds, or a list of them, found {shown(list(self.x))}"
            )
        if self.kind == "cost" and (len(self.y) != 1 or not self.y[0].endswith(("_error", "_loss"))):
            raise ValueError(f"a cost figure takes one error or loss as `y`, found {shown(list(self.y))}")
        if self.kind == "curves" and len(self.y) != 1:
            raise ValueError(f"a figure of curves takes one metric as `y`, found {shown(list(self.y))}")
        if self.kind == "curves" and not self.y[0].startswith(("train_", "validation_")):
            raise ValueError(
                f"curves show training or validation metrics, found {self.y[0]}: the test is read once"
            )
        return self


# Mechanisms that can be measured on the networks of a study; `ablations.mechanisms` says what each is.
DIAGNOSTICS = (
    *("gradient-by-layer", "response-magnitude", "branch-variance", "lesions", "path-lengths"),
    *("gradient-correlation", "loss-curve", "loss-contour", "dropout-uncertainty"),
    *("gradient-through-training", "loss-along-gradient", "activation-moments"),
)
# Those that take the weights of several epochs: runs of their arms keep snapshots.
THROUGH_TRAINING = ("gradient-through-training", "loss-along-gradient", "activation-moments")


class Diagnostic(Strict):
    """The arms on which a mechanism is measured: the levels of `colour`, with one level of each other factor in
    `arms`; `first` and `last` are those of the suite."""

    colour: Name  # the factor that the colours tell apart
    arms: dict[str, One] = {}


OBJECTIVES = ("validation_error", "macs")


class Search(Strict):
    """How every arm of a study is tuned, with the same budget: the `space` of fields that are tried, by path; so many
    `trials` an arm, the first with the arm's own settings; a trial trains `seeds` runs, and what counts is the mean of
    their validation errors, or that and the multiply-adds of an image."""

    trials: Trials = 20
    seeds: Seeds = 2  # seeds 0 .. n - 1, as those of the report
    space: dict[str, Dimension]
    objectives: Sequence(Literal[*OBJECTIVES]) = ("validation_error",)
    seed: SamplerSeed = 0

    @field_validator("space", mode="before")
    @classmethod
    def parse_space(cls, raw: Any) -> Any:
        return parse_space(raw)

    @field_validator("space")
    @classmethod
    def conditions_can_hold(cls, space: dict[str, Dimension]) -> dict[str, Dimension]:
        known, before = settable(), []
        for path, dimension in space.items():
            for field, values in dimension.when.items():
                if field in space and field not in before:
                    raise ValueError(f"{path}.when: `{field}` comes later in the space; put it first")
                if field not in known:
                    raise ValueError(
                        f"{path}.when: `{field}` is no field of model or recipe{suggestion(field, known)}"
                    )
                for value in listed(values):
                    if wrong := misfit(field, value):
                        raise ValueError(f"{path}.when: {wrong}")
                    if field in space and not space[field].has(value):
                        raise ValueError(f"{path}.when: {field} is never {shown(value)} in this space")
            before.append(path)
        return space

    @field_validator("objectives")
    @classmethod
    def error_first(cls, objectives: tuple[str, ...]) -> tuple[str, ...]:
        if objectives not in (OBJECTIVES[:1], OBJECTIVES):
            raise ValueError(f"[validation_error], or [validation_error, macs]; found {list(objectives)}")
        return objectives


def parse_space(raw: Any) -> dict[str, Any]:
    """The dimensions of a search by the whole path of their fields. ValueError where a field does not exist or is
    there twice."""
    if not isinstance(raw, Mapping) or not raw:
        raise ValueError(
            "expected fields with their values, such as `learning_rate: {low: 0.01, high: 1, log: true}`"
        )
    known, space = settable(), {}
    for field, values in raw.items():
        if field not in known:
            raise ValueError(f"`{field}` is no field of model or recipe{suggestion(str(field), known)}")
        if known[field] in space:
            raise ValueError(f"`{field}`: {known[field]} is there twice")
        if isinstance(values, Range | Choice):
            space[known[field]] = values
            continue
        try:
            dimension = parse(values, takes_fractions(known[field]))
        except ValidationError as error:
            kind = Choice if isinstance(values, list) or "choices" in values else Range
            raise ValueError("; ".join(f"{field}: {fault(kind, each)}" for each in error.errors())) from None
        except ValueError as error:
            raise ValueError(f"{field}: {error}") from None
        if wrong := [each for each in (misfit(known[field], value) for value in dimension.ends) if each]:
            raise ValueError("; ".join(wrong))
        when = {known.get(name, name): value for name, value in dimension.when.items()}
        space[known[field]] = dimension.model_copy(update={"when": when})
    return space


def takes_fractions(path: str) -> bool:
    """Whether a field, by its path, is a number that need not be whole."""
    part, _, name = path.partition(".")
    kinds = (Recipe,) if part == "recipe" else FAMILIES.values()
    types = [kind.model_fields[name].annotation for kind in kinds if name in kind.model_fields]
    return any(float in (each, *get_args(each)) for each in types)


def misfit(path: str, value: Any) -> str:
    """Why a field, by its path, cannot have a value, whatever the others have; nothing where it can."""
    part, _, name = path.partition(".")
    kind = RecipeChanges if part == "recipe" else ModelChanges
    try:
        kind.model_validate({name: value})
    except ValidationError as error:
        return fault(kind, error.errors()[0])
    return ""


class SearchInSuite(Strict):
    """How a suite searches: what is given wins over the study's; the space by field. With a `space`, a suite can
    search in a study that has no search of its own."""

    trials: Trials | None = None
    seeds: Seeds | None = None
    space: dict[str, Dimension] = {}

    @field_validator("space", mode="before")
    @classmethod
    def parse_space(cls, raw: Any) -> Any:
        return parse_space(raw)


def leave_factors_alone(search: Search, factors: Mapping[str, Factor]) -> None:
    """ValueError where a search sets all that tells the levels of a factor apart; some of it, it may."""
    for name, factor in factors.items():
        paths = {path for level in factor.levels for path in level.settings}
        if paths and paths <= set(search.space):
            raise ValueError(f"search.space: {listing(sorted(paths))} is what the factor {name} varies")


MOST_SKIPPED = 200  # every arm is held against each of them


class Study(Strict):
    """One ablation: a question, the factors it varies, the claims it tests, the figures it draws, the mechanisms
    it measures."""

    title: Line
    question: Line
    background: Paragraphs  # Markdown with formulas
    factors: dict[Name, Factor]
    # Combinations of levels that are no arms.
    skip: Annotated[Sequence(dict[str, Levels]), Field(max_length=MOST_SKIPPED)] = ()
    model: ModelChanges = ModelChanges()
    recipe: RecipeChanges = RecipeChanges()
    claims: dict[Name, Claim] = {}
    figures: dict[Name, Figure] = {}
    diagnostics: dict[Literal[*DIAGNOSTICS], Diagnostic] = {}
    search: Search | None = None

    @field_validator("factors", mode="before")
    @classmethod
    def parse_factors(cls, factors: Any) -> Any:
        if not isinstance(factors, Mapping) or not factors:
            raise ValueError("expected factors with their levels, such as `depth: [8, 20]`")
        parsed = {}
        for factor, levels in factors.items():
            if factor in COLUMNS or factor in METRICS:
                raise ValueError(f"{factor}: a table has a column of this name; call the factor otherwise")
            try:
                parsed[factor] = levels if isinstance(levels, Factor) else parse_factor(factor, levels)
            except ValueError as error:
                raise ValueError(f"{factor}: {error}") from None
        set_by: dict[str, str] = {}
        for name, factor in parsed.items():
            for path in {path for level in factor.levels for path in level.settings}:
                if path in set_by:
                    raise ValueError(f"factors {set_by[path]} and {name} both set {path}")
                set_by[path] = name
        return parsed

    @model_validator(mode="after")
    def known_levels_to_skip(self) -> Study:
        for number, combination in enumerate(self.skip):
            if not combination or [] in combination.values():
                raise ValueError(f"skip.{number}: give a level, or a list of levels, of one factor or more")
            for name, levels in combination.items():
                known = [level.label for level in self.factors[name].levels] if name in self.factors else []
                if not known:
                    raise ValueError(f"skip.{number}: no factor `{name}`{suggestion(name, self.factors)}")
                for level in map(label, listed(levels)):
                    if level not in known:
                        raise ValueError(
                            f"skip.{number}.{name}: no level `{level}`{suggestion(level, known)}; known: {', '.join(known)}"
                        )
        return self

    @cached_property
    def skipped(self) -> list[dict[str, set[str]]]:
        """The labels of each combination that is no arm, by factor."""
        return [{name: set(map(label, listed(some))) for name, some in each.items()} for each in self.skip]

    def skips(self, levels: Mapping[str, str]) -> bool:
        """Whether the levels of each factor are a combination that is no arm."""
        return any(all(levels[name] in some for name, some in each.items()) for each in self.skipped)

    @model_validator(mode="after")
    def known_factors(self) -> Study:
        for name, claim in self.claims.items():
            self.check_arms(f"claims.{name}", claim)
        for name, figure in self.figures.items():
            used = {
                "colour": figure.colour,
                "panels": figure.panels,
                "x": figure.x[0] if figure.kind == "levels" else None,
            }
            for key, factor in used.items():
                if factor is not None and factor not in self.factors:
                    known = ", ".join(self.factors)
                    raise ValueError(f"figures.{name}.{key}: `{factor}` is no factor of this study: {known}")
        return self

    @model_validator(mode="after")
    def search_leaves_factors_alone(self) -> Study:
        if self.search:
            leave_factors_alone(self.search, self.factors)
        return self

    @model_validator(mode="after")
    def known_arms_of_diagnostics(self) -> Study:
        for name, diagnostic in self.diagnostics.items():
            place, known = f"diagnostics.{name}", ", ".join(self.factors)
            if diagnostic.colour not in self.factors:
                raise ValueError(f"{place}.colour: `{diagnostic.colour}` is no factor of this study: {known}")
            others = [factor for factor in self.factors if factor != diagnostic.colour]
            if set(diagnostic.arms) != set(others):
                wanted = f"a level of each other factor: {', '.join(others)}" if others else "no `arms`"
                raise ValueError(f"{place}.arms: give {wanted}")
            if name in self.figures:
                raise ValueError(f"figures.{name}: a diagnostic of this study has that name")
        return self

    def check_arms(self, place: str, claim: Claim) -> None:
        """ValueError where a claim does not name arms of this study by a level, or levels, of each factor."""
        if claim.factor is not None and claim.factor not in self.factors:
            known = ", ".join(self.factors)
            raise ValueError(f"{place}.factor: `{claim.factor}` is no factor of this study: {known}")
        wanted = [name for name in self.factors if name != claim.factor]
        for side in ("arm", "than"):
            levels = getattr(claim, side)
            if levels is None:
                continue
            if set(levels) != set(wanted):
                each = (
                    f"give a level of each factor: {', '.join(wanted)}"
                    if wanted
                    else "there is no other factor"
                )
                raise ValueError(f"{place}.{side}: {each}")
            for name, value in levels.items():
                if value == [] or (claim.kind in ("fails", "trend") and isinstance(value, list)):
                    raise ValueError(f"{place}.{side}.{name}: give one level, found {shown(value)}")
        if claim.than is not None and all(
            set(map(label, listed(claim.arm[name]))) & set(map(label, listed(claim.than[name])))
            for name in wanted
        ):
            raise ValueError(f"{place}: `arm` and `than` are the same arm, or share one")


class StudyInSuite(Strict):
    """How a suite runs a study: other levels, and changes of model, recipe, data, seeds or target."""

    levels: dict[str, Any] = {}  # of a factor, in either form
    model: ModelChanges = ModelChanges()
    recipe: RecipeChanges = RecipeChanges()
    data: Name | None = None
    seeds: Seeds | None = None
    target_error: Percent | None = None  # wins over the suite's
    search: SearchInSuite = SearchInSuite()


class Budget(Strict):
    """What may be trained at a time without asking: runs that the store lacks, hours that they take one after another,
    what they leave on disk."""

    runs: Positive = 5000
    hours: Annotated[float, Field(gt=0)] = 200.0
    disk_gb: Annotated[float, Field(gt=0)] = 100.0


class Suite(Strict):
    """Where studies are run: data set, recipe, seeds, scale. Each study has a report of its own; those that
    `report` names, all if it is not given, are in the suite's."""

    title: Line
    data: Name
    seeds: Seeds  # seeds 0 .. n - 1
    recipe: RecipeChanges
    model: ModelChanges = ModelChanges()
    studies: dict[str, StudyInSuite]
    report: Sequence(str) | None = None
    seeds_per_job: Positive | None = None  # cut an arm's seeds into jobs of so many, for clusters
    target_error: Percent | None = None  # a validation error: how long did runs take to get there?
    search: SearchInSuite = SearchInSuite()  # of every study; what the suite says of one wins over it
    budget: Budget = Budget()

    @field_validator("report")
    @classmethod
    def known_studies(cls, report: tuple[str, ...] | None, info: Any) -> tuple[str, ...] | None:
        studies = info.data.get("studies")
        for study in report or ():
            if studies is not None and study not in studies:
                raise ValueError(f"`{study}` is not among this suite's studies{suggestion(study, studies)}")
        if report is not None and not 0 < len(set(report)) == len(report):
            raise ValueError("names a study at least, and each once")
        return report


# ------------------------------------------------------------------------------------------ reading YAML

# Files, folders and rules are called after definitions; these are taken.
RESERVED = {
    "all", "all_studies", "report", "prepare", "train", "cost", "collect", "diagnose", "figures", "verdicts", "search",
    "begin_search", "do_trials", "end_search", "train_tuned",  # rules
    "data", "runs", "locks", "logs", "benchmarks", "downloads", "arms", "captions", "example",  # folders
}  # fmt: skip
TUNED = "-tuned"  # behind the name of a study: its arms with the settings that its search found
KINDS: dict[str, type[Strict]] = {"studies": Study, "suites": Suite, "datasets": Dataset}
SINGULAR = {"studies": "study", "suites": "suite", "datasets": "data set"}
BIBLIOGRAPHY = re.compile(r"^@\w+\{([^,\s]+),", re.MULTILINE)  # its keys
CITATION = re.compile(r"(?<![\w\\])@\{?(\w+(?:[:.#$%&+?<>~/-]\w+)*)")  # as pandoc finds them
PACKAGE = Path(__file__).parent
TEMPLATES = PACKAGE.parent / "report"  # of the checkout: the report's template, style and bibliography


class Library:
    """Studies, suites and data sets by name: those of the package and those of a folder of the user's own."""

    def __init__(self, extra: str | Path | None = None):
        self.extra = str(extra) if extra is not None else None
        self.folders = [PACKAGE]
        if extra is not None:
            if not has_definitions(Path(extra)):
                raise UserError(f"{extra}: expected a folder with studies/, suites/ or datasets/ in it")
            self.folders.append(Path(extra))
        self._read = cache(self._read)

    def names(self, kind: str) -> list[str]:
        """Names of all definitions of a kind, sorted. UserError where a file has a name that is none, or is taken."""
        found = (path for folder in self.folders for path in (folder / kind).glob("*.yaml"))
        return sorted({checked_name(path) for path in found if not path.name.startswith(".")})

    def path(self, kind: str, name: str) -> Path:
        """The file of a definition; the user's own folder wins. UserError for an unknown name."""
        known = self.names(kind)
        for folder in reversed(self.folders) if name in known else ():
            path = folder / kind / f"{name}.yaml"
            if path.exists() or path.is_symlink():
                return path
        raise UserError(f"unknown {SINGULAR[kind]} `{name}`{suggestion(name, known)}; known: {names(known)}")

    def study(self, name: str) -> Study:
        """A study by name. UserError where it is unknown or not valid; so for suites and data sets."""
        return self._read("studies", name)

    def suite(self, name: str) -> Suite:
        """A suite by name."""
        return self._read("suites", name)

    def dataset(self, name: str) -> Dataset:
        """A data set by name."""
        return self._read("datasets", name)

    @property
    def bibliographies(self) -> list[Path]:
        """The package's references and, where there is one, references.bib of the user's own folder."""
        own = [folder / "references.bib" for folder in self.folders[1:]]
        return [TEMPLATES / "references.bib", *(path for path in own if path.is_file())]

    @cached_property
    def sources(self) -> set[str]:
        """The keys of all bibliographies."""
        return set(BIBLIOGRAPHY.findall("\n".join(read_text(path) for path in self.bibliographies)))

    def check_sources(self, definition: Strict, path: Path) -> None:
        """UserError for a citation that no bibliography has."""
        for place, text in texts(definition).items():
            for key in [text] if place.endswith(".source") else CITATION.findall(text):
                if key not in self.sources:
                    where = " or ".join(str(b) for b in self.bibliographies)
                    raise UserError(
                        f"{path}: {place}: `{key}` is not in {where}{suggestion(key, self.sources)}"
                    )

    def _read(self, kind: str, name: str) -> Any:
        path = self.path(kind, name)
        definition = validate(KINDS[kind], read_yaml(path), path)
        self.check_sources(definition, path)
        return definition


def texts(definition: Strict) -> dict[str, str]:
    """What of a definition is printed, and the sources of claims, by key path."""
    found = {"title": definition.title}
    if isinstance(definition, Study):
        found |= {"question": definition.question, "background": definition.background}
        found |= {f"figures.{name}.title": figure.title for name, figure in definition.figures.items()}
        for name, claim in definition.claims.items():
            for key in ("statement", "published", "statistic", "source"):
                found[f"claims.{name}.{key}"] = getattr(claim, key) or ""
    return found


def has_definitions(folder: Path) -> bool:
    """Whether there is such a folder, with definitions in it."""
    try:
        return any((folder / kind).is_dir() for kind in KINDS)
    except (OSError, ValueError):  # no folder can be called so
        return False


def checked_name(path: Path) -> str:
    """The name of a definition, by its file. UserError where it cannot be one."""
    name = path.stem
    if not is_name(name) or name in RESERVED or name.endswith(TUNED):
        raise UserError(
            f"{path.parent}: {shown(path.name)}: {shown(name)} cannot be a name here: take small letters, digits and "
            f"dashes or underscores, but none of {', '.join(sorted(RESERVED))}, and no {TUNED} at the end"
        )
    return name
