"""The vocabulary as frozen, validated types, and the only place that reads YAML.

A definition is a YAML file in a folder `studies/`, `suites/` or `datasets/`; its name is the file's name.
The package brings its own; `Library(extra="my")` looks into `my/studies/` and so on as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, create_model, field_validator, model_validator
from ruamel.yaml import YAML, YAMLError

from ablations.errors import UserError
from ablations.networks import FAMILIES
from ablations.schema import Positive, Sequence, Strict, fault, shown, suggestion, validate
from ablations.space import Choice, Dimension, Range, parse

Scalar = bool | int | float | str
Levels = Scalar | list[Scalar]  # of a factor: one, or a group of them
Part = Annotated[float, Field(ge=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]
Percent = Annotated[float, Field(ge=0, le=100)]
Pixels = Annotated[int, Field(ge=0)]
NotNegativeInt = Annotated[int, Field(ge=0)]


# ------------------------------------------------------------------------------------------ what is trained


class Dataset(Strict):
    """Where images come from and how they are split. Everything but the title can change numbers."""

    title: str
    source: Literal["digits", "cifar10", "cifar100", "parquet"]
    path: str | None = None  # parquet: the folder with train*.parquet and test*.parquet
    train: Positive | None = None  # images kept for training; all that validation leaves if not given
    validation: Positive  # images taken from the training part, to select by
    test: Positive | None = None  # images kept for the test; all of the test part if not given
    noise: NotNegative = 0.0  # Gaussian, in standard deviations of the pixels, added once

    @model_validator(mode="after")
    def path_where_needed(self) -> Dataset:
        if (self.source == "parquet") != (self.path is not None):
            raise ValueError("`path` belongs to source `parquet`, and only there")
        return self


class Recipe(Strict):
    """How a network is trained: what lowers the cross-entropy, at which pace, on which views of the images."""

    epochs: Positive
    batch_size: Positive
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)]  # the highest, reached after the warm-up
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # of adam: beta_1; its beta_2 is 0.999
    nesterov: bool = False
    weight_decay: NotNegative = 1e-4  # on every parameter
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
    mixup: NotNegative = 0.0  # alpha of the Beta distribution that mixes two images
    cutmix: NotNegative = 0.0  # alpha of the Beta distribution of the part that a box of another image takes
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


def parse_factor(name: str, levels: Any) -> Factor:
    """A factor from its YAML form; ValueError where a field does not exist or a level is there twice."""
    known = settable()

    def path(field: str) -> str:
        if field not in known:
            raise ValueError(f"`{field}` is no field of model or recipe{suggestion(field, known)}")
        return known[field]

    if isinstance(levels, list):
        field = path(name)
        parsed = [Level(label=label(value), settings={field: value}) for value in levels]
    elif isinstance(levels, Mapping):
        field = None
        parsed = [
            Level(label=label(key), settings={path(f): value for f, value in mapping(key, fields).items()})
            for key, fields in levels.items()
        ]
    else:
        raise ValueError(f"expected a list of values or a mapping of labels to fields, found {shown(levels)}")
    if not parsed:
        raise ValueError("a factor needs at least one level")
    labels = [level.label for level in parsed]
    if doubled := sorted({x for x in labels if labels.count(x) > 1}):
        raise ValueError(f"level given twice: {', '.join(doubled)}")
    return Factor(field=field, levels=tuple(parsed))


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


def words(name: str) -> str:
    """A name from YAML as prose."""
    return name.replace("_", " ")


def listing(parts: list[str]) -> str:
    """`a, b and c`."""
    *first, last = parts or [""]
    return f"{', '.join(first)} and {last}" if first else last


# Columns of the table of runs, beside its factors and the metrics below.
COLUMNS = {
    "study", "network", "run", "arm", "seed", "status", "epoch", "step",
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

    `greater`, `less`: the metric of `arm` is above, below that of `than` by `margin` or more.
    `not_greater`: it is not above it by so much.
    `equivalent`: it is neither above nor below it by so much.
    `fails`: the arm does not train: its metric is above `threshold`; a diverged run counts as guessing.
    `trend`: over the levels of `factor` in their order the metric `rises` or `falls` by `margin` or more, the other
    factors at the levels of `arm`.
    `crossover`: at the first of the two levels `at` of `factor` the metric of `arm` is above that of `than` by
    `margin` or more, at the second below it by as much; `arm` and `than` give levels of the other factors."""

    statement: str
    short: str | None = None  # a form of it for figures, of half a line
    kind: Literal[*KINDS_OF_CLAIM]
    metric: Metric
    arm: dict[str, Levels] = {}
    than: dict[str, Levels] | None = None
    threshold: float | None = None  # fails: in the metric's unit
    factor: str | None = None
    direction: Literal["rises", "falls"] | None = None
    at: Annotated[Sequence(Scalar), Field(min_length=2, max_length=2)] | None = None
    margin: NotNegative  # the smallest difference that matters, in the metric's unit
    source: str  # key in report/references.bib
    published: str  # the figures printed there, with network and data
    statistic: str | None = None  # what these figures are: medians of 5 runs, best epoch, ...

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
    x: Sequence(str) = ()  # levels: a factor; cost: one cost or several
    y: Sequence(Metric)
    colour: str  # the factor that the colours tell apart
    panels: str | None = None  # curves: a factor; all arms in one panel if not given
    title: str  # what the figure shows, for captions

    @field_validator("x", mode="before")
    @classmethod
    def one_or_several(cls, x: Any) -> Any:
        return [x] if isinstance(x, str) else x

    @model_validator(mode="after")
    def axes(self) -> Figure:
        if not self.y:
            raise ValueError("`y` needs at least one metric")
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

    colour: str  # the factor that the colours tell apart
    arms: dict[str, Scalar] = {}


OBJECTIVES = ("validation_error", "macs")


class Search(Strict):
    """How every arm of a study is tuned, with the same budget: the `space` of fields that are tried, by path; so many
    `trials` an arm, the first with the arm's own settings; a trial trains `seeds` runs, and what counts is the mean of
    their validation errors, or that and the multiply-adds of an image."""

    trials: Positive = 20
    seeds: Positive = 2  # seeds 0 .. n - 1, as those of the report
    space: dict[str, Dimension]
    objectives: Sequence(Literal[*OBJECTIVES]) = ("validation_error",)
    seed: NotNegativeInt = 0  # of the sampler

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

    trials: Positive | None = None
    seeds: Positive | None = None
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


class Study(Strict):
    """One ablation: a question, the factors it varies, the claims it tests, the figures it draws, the mechanisms
    it measures."""

    title: str
    question: str
    background: str  # Markdown with formulas
    factors: dict[str, Factor]
    skip: Sequence(dict[str, Scalar | list[Scalar]]) = ()  # combinations of levels that are no arms
    model: ModelChanges = ModelChanges()
    recipe: RecipeChanges = RecipeChanges()
    claims: dict[str, Claim] = {}
    figures: dict[str, Figure] = {}
    diagnostics: dict[Literal[*DIAGNOSTICS], Diagnostic] = {}
    search: Search | None = None

    @field_validator("factors", mode="before")
    @classmethod
    def parse_factors(cls, factors: Any) -> Any:
        if not isinstance(factors, Mapping) or not factors:
            raise ValueError("expected factors with their levels, such as `depth: [8, 20]`")
        parsed = {}
        for name, levels in factors.items():
            if name in COLUMNS or name in METRICS:
                raise ValueError(
                    f"{name}: the table of runs has a column of this name; call the factor otherwise"
                )
            try:
                parsed[name] = levels if isinstance(levels, Factor) else parse_factor(name, levels)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
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

    def skips(self, levels: Mapping[str, str]) -> bool:
        """Whether the levels of each factor are a combination that is no arm."""
        return any(
            all(levels[name] in map(label, listed(skipped)) for name, skipped in combination.items())
            for combination in self.skip
        )

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

    levels: dict[str, list[Scalar] | dict[str, dict[str, Any]]] = {}
    model: ModelChanges = ModelChanges()
    recipe: RecipeChanges = RecipeChanges()
    data: str | None = None
    seeds: Positive | None = None
    target_error: Percent | None = None  # wins over the suite's
    search: SearchInSuite = SearchInSuite()


class Suite(Strict):
    """Where studies are run: data set, recipe, seeds, scale. Each study has a report of its own; those that
    `report` names, all if it is not given, are in the suite's."""

    title: str
    data: str
    seeds: Positive  # seeds 0 .. n - 1
    recipe: RecipeChanges
    model: ModelChanges = ModelChanges()
    studies: dict[str, StudyInSuite]
    report: Sequence(str) | None = None
    seeds_per_job: Positive | None = None  # cut an arm's seeds into jobs of so many, for clusters
    target_error: Percent | None = None  # a validation error: how long did runs take to get there?
    search: SearchInSuite = SearchInSuite()  # of every study; what the suite says of one wins over it

    @field_validator("report")
    @classmethod
    def known_studies(cls, report: tuple[str, ...] | None, info: Any) -> tuple[str, ...] | None:
        studies = info.data.get("studies", {})
        for name in report or ():
            if name not in studies:
                raise ValueError(f"`{name}` is not among this suite's studies{suggestion(name, studies)}")
        return report


# ------------------------------------------------------------------------------------------ reading YAML

# Files, folders and rules are called after definitions; these are taken.
NAME = re.compile(r"[a-z0-9][a-z0-9-]*|[a-z0-9][a-z0-9_]*")
RESERVED = {
    "all", "all_studies", "report", "prepare", "train", "cost", "collect", "diagnose", "figures", "verdicts", "search",  # rules
    "data", "runs", "logs", "benchmarks", "downloads", "arms", "captions", "example",  # folders
}  # fmt: skip
TUNED = "-tuned"  # behind the name of a study: its arms with the settings that its search found
KINDS: dict[str, type[Strict]] = {"studies": Study, "suites": Suite, "datasets": Dataset}
SINGULAR = {"studies": "study", "suites": "suite", "datasets": "data set"}
PACKAGE = Path(__file__).parent
TEMPLATES = PACKAGE.parent / "report"  # of the checkout: the report's template, style and bibliography


class Library:
    """Studies, suites and data sets by name: those of the package and those of a folder of the user's own."""

    def __init__(self, extra: str | Path | None = None):
        self.extra = str(extra) if extra is not None else None
        self.folders = [PACKAGE]
        if extra is not None:
            if not any((Path(extra) / kind).is_dir() for kind in KINDS):
                raise UserError(f"{extra}: expected a folder with studies/, suites/ or datasets/ in it")
            self.folders.append(Path(extra))
        self._read = cache(self._read)

    def names(self, kind: str) -> list[str]:
        """Names of all definitions of a kind, sorted."""
        found = (path for folder in self.folders for path in (folder / kind).glob("*.yaml"))
        return sorted({path.stem for path in found if path.is_file()})

    def path(self, kind: str, name: str) -> Path:
        """The file of a definition; the user's own folder wins. UserError for an unknown name."""
        for folder in reversed(self.folders):
            if name in self.names(kind) and (path := folder / kind / f"{name}.yaml").is_file():
                return path
        known = self.names(kind)
        raise UserError(
            f"unknown {SINGULAR[kind]} `{name}`{suggestion(name, known)}; known: {', '.join(known)}"
        )

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

    def check_sources(self, study: Study, path: Path) -> None:
        """UserError for a citation that no bibliography has."""
        known = re.findall(
            r"^@\w+\{([^,\s]+),", "".join(b.read_text() for b in self.bibliographies), re.MULTILINE
        )
        cited = {f"claims.{name}.source": claim.source for name, claim in study.claims.items()}
        cited |= {f"background: @{key}": key for key in re.findall(r"@([A-Za-z][\w:-]*)", study.background)}
        for place, key in cited.items():
            if key not in known:
                where = " or ".join(str(b) for b in self.bibliographies)
                raise UserError(f"{path}: {place}: `{key}` is not in {where}{suggestion(key, known)}")

    def _read(self, kind: str, name: str) -> Any:
        path = self.path(kind, name)
        if not NAME.fullmatch(name) or name in RESERVED or name.endswith(TUNED):
            raise UserError(
                f"{path}: `{name}` cannot be a name here: take small letters, digits and dashes or underscores, "
                f"but none of {', '.join(sorted(RESERVED))}, and no {TUNED} at the end"
            )
        definition = validate(KINDS[kind], read_yaml(path), path)
        if isinstance(definition, Study):
            self.check_sources(definition, path)
        return definition


def read_yaml(path: Path) -> Any:
    """Plain data from a YAML 1.2 file. UserError names file and line."""
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split("\n")[0].split())
        raise UserError(f"{path}{where}: not valid YAML: {problem}") from None
