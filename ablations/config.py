"""The vocabulary as frozen, validated types, and the only place that reads YAML.

A definition is a YAML file in a folder `studies/`, `suites/` or `datasets/`; its name is the file's name.
The package brings its own; `Library(extra="my")` looks into `my/studies/` and so on as well.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML, YAMLError

from ablations.errors import UserError

Positive = Annotated[int, Field(gt=0)]
Scalar = bool | int | float | str


def Sequence(item: type) -> Any:
    """A tuple in the type, a list in YAML."""
    return Annotated[tuple[item, ...], Field(strict=False)]


class Strict(BaseModel):
    """No unknown keys, no silent conversions (`"12"` is no number, `true` is not 1), no NaN; immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


# ------------------------------------------------------------------------------------------ what is trained


class Dataset(Strict):
    """Where images come from and how they are split. Everything but the title can change numbers."""

    title: str
    source: Literal["digits", "cifar10", "cifar100", "parquet"]
    path: str | None = None  # parquet: the folder with train*.parquet and test*.parquet
    train: Positive | None = None  # images kept for training; all that validation leaves if not given
    validation: Positive  # images taken from the training part, to select by
    test: Positive | None = None  # images kept for the test; all of the test part if not given
    noise: Annotated[float, Field(ge=0)] = 0.0  # Gaussian, in standard deviations of the pixels, added once

    @model_validator(mode="after")
    def path_where_needed(self) -> Dataset:
        if (self.source == "parquet") != (self.path is not None):
            raise ValueError("`path` belongs to source `parquet`, and only there")
        return self


class ResNet(Strict):
    """The CIFAR networks of He et al. 2015, section 4.2: 6n + 2 layers, three stages of n basic blocks."""

    family: Literal["resnet"] = "resnet"
    depth: int  # weighted layers: the stem, 2 per block, the classifier
    shortcut: Literal["none", "identity"] = "identity"  # none: the plain network; identity: option A
    widths: Annotated[tuple[Positive, Positive, Positive], Field(strict=False)] = (16, 32, 64)

    @field_validator("depth")
    @classmethod
    def six_n_plus_two(cls, depth: int) -> int:
        if depth < 8 or depth % 6 != 2:
            below = max(8, depth - (depth - 2) % 6)
            near = f"{below} and {below + 6}" if depth > 8 else "8"
            raise ValueError(f"a network of this family has 6n + 2 layers, n >= 1; valid near it: {near}")
        return depth

    @property
    def name(self) -> str:
        return f"{'plain' if self.shortcut == 'none' else 'resnet'}-{self.depth}"


class Recipe(Strict):
    """How a network is trained. SGD with momentum on the cross-entropy; weight decay on every parameter."""

    epochs: Positive
    batch_size: Positive
    learning_rate: Annotated[float, Field(gt=0)]  # the highest, reached after the warm-up
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    schedule: Literal["step", "cosine"] = "cosine"
    milestones: Sequence(Annotated[float, Field(gt=0, lt=1)]) = (
        0.5,
        0.75,
    )  # of `step`: parts of the training
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1  # of `step`: factor at each milestone
    warmup: Annotated[float, Field(ge=0)] = 0.0  # epochs of linear growth from zero
    crop_padding: Annotated[int, Field(ge=0)] = 0  # pixels of zero padding for random crops
    flip: bool = False  # random horizontal flips
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: autocast, weights stay fp32

    @model_validator(mode="after")
    def consistent(self) -> Recipe:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"`milestones` must rise, found {list(self.milestones)}")
        if self.warmup > self.epochs:
            raise ValueError(f"`warmup` is longer than the training: {self.warmup} > {self.epochs} epochs")
        return self


def changes(kind: type[Strict]) -> type[Strict]:
    """The same fields, each optional: what a suite or study sets of a recipe or model."""
    fields = {name: (Annotated[f.annotation, f], None) for name, f in kind.model_fields.items()}
    return create_model(f"{kind.__name__}Changes", __base__=Strict, **fields)


ModelChanges = changes(ResNet)
RecipeChanges = changes(Recipe)


def set_fields(part: Strict) -> dict[str, Any]:
    """Only what the file spelled out."""
    return {key: value for key, value in part.model_dump().items() if key in part.model_fields_set}


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
    paths = [
        f"{part}.{name}"
        for part, kind in (("model", ResNet), ("recipe", Recipe))
        for name in kind.model_fields
    ]
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


def mapping(key: Any, fields: Any) -> Mapping[str, Any]:
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


METRICS = {
    "train_error": "training error (%)",
    "train_loss": "training loss",
    "validation_error": "validation error (%)",
    "validation_loss": "validation loss",
    "test_error": "test error (%)",
    "test_loss": "test loss",
}
Metric = Literal[
    "train_error", "train_loss", "validation_error", "validation_loss", "test_error", "test_loss"
]
assert set(METRICS) == set(get_args(Metric))


class Claim(Strict):
    """A statement about two arms. `greater`: the metric of `arm` exceeds that of `than` by `margin` or more;
    `not_greater`: it does not."""

    statement: str
    kind: Literal["greater", "not_greater"]
    metric: Metric
    arm: dict[str, Scalar]  # a level for every factor
    than: dict[str, Scalar]
    margin: Annotated[float, Field(ge=0)]  # the smallest difference that matters, in the metric's unit
    source: str  # key in report/references.bib
    published: str  # the figures printed there, with the statistic they are


class Figure(Strict):
    """`levels`: the metric against a factor's levels; `curves`: it against epochs; `cost`: it against a cost.
    One panel a metric, except for `curves`: one panel a level of `panels`."""

    kind: Literal["levels", "curves", "cost"]
    x: str | None = None  # levels: a factor; cost: macs or parameters
    y: Sequence(Metric)
    colour: str  # the factor that the colours tell apart
    panels: str | None = None  # curves: a factor
    title: str  # what the figure shows, for captions

    @model_validator(mode="after")
    def axes(self) -> Figure:
        if self.kind == "cost" and self.x not in ("macs", "parameters"):
            raise ValueError(f"`x` of a cost figure is macs or parameters, found {shown(self.x)}")
        if self.kind == "curves" and (self.panels is None or len(self.y) != 1):
            raise ValueError("a figure of curves takes one metric as `y` and a factor as `panels`")
        if self.kind == "curves" and not self.y[0].startswith(("train_", "validation_")):
            raise ValueError(
                f"curves show training or validation metrics, found {self.y[0]}: the test is read once"
            )
        return self


class Study(Strict):
    """One ablation: a question, the factors it varies, the claims it tests, the figures it draws."""

    title: str
    question: str
    background: str  # Markdown with formulas
    factors: dict[str, Factor]
    model: ModelChanges = ModelChanges()
    recipe: RecipeChanges = RecipeChanges()
    claims: dict[str, Claim] = {}
    figures: dict[str, Figure] = {}

    @field_validator("factors", mode="before")
    @classmethod
    def parse_factors(cls, factors: Any) -> Any:
        if not isinstance(factors, Mapping) or not factors:
            raise ValueError("expected factors with their levels, such as `depth: [8, 20]`")
        parsed = {}
        for name, levels in factors.items():
            try:
                parsed[name] = levels if isinstance(levels, Factor) else parse_factor(name, levels)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return parsed

    @model_validator(mode="after")
    def known_factors(self) -> Study:
        for name, claim in self.claims.items():
            for side in ("arm", "than"):
                if set(getattr(claim, side)) != set(self.factors):
                    raise ValueError(
                        f"claims.{name}.{side}: give a level of each factor: {', '.join(self.factors)}"
                    )
        for name, figure in self.figures.items():
            used = {
                "colour": figure.colour,
                "panels": figure.panels,
                "x": figure.x if figure.kind == "levels" else None,
            }
            for key, factor in used.items():
                if factor is not None and factor not in self.factors:
                    known = ", ".join(self.factors)
                    raise ValueError(f"figures.{name}.{key}: `{factor}` is no factor of this study: {known}")
        return self


class StudyInSuite(Strict):
    """How a suite runs a study: other levels, and changes of model, recipe, data or seeds."""

    levels: dict[str, list[Scalar] | dict[str, dict[str, Any]]] = {}
    model: ModelChanges = ModelChanges()
    recipe: RecipeChanges = RecipeChanges()
    data: str | None = None
    seeds: Positive | None = None


class Suite(Strict):
    """Where studies are run: data set, recipe, seeds, scale. `studies` are those of the default report."""

    title: str
    data: str
    seeds: Positive  # seeds 0 .. n - 1
    recipe: RecipeChanges
    model: ModelChanges = ModelChanges()
    studies: dict[str, StudyInSuite]
    seeds_per_job: Positive | None = None  # cut an arm's seeds into jobs of so many, for clusters


# ------------------------------------------------------------------------------------------ reading YAML

KINDS: dict[str, type[Strict]] = {"studies": Study, "suites": Suite, "datasets": Dataset}
SINGULAR = {"studies": "study", "suites": "suite", "datasets": "data set"}
PACKAGE = Path(__file__).parent


class Library:
    """Studies, suites and data sets by name: those of the package and those of a folder of the user's own."""

    def __init__(self, extra: str | Path | None = None):
        self.folders = [PACKAGE]
        if extra is not None:
            if not any((Path(extra) / kind).is_dir() for kind in KINDS):
                raise UserError(f"{extra}: expected a folder with studies/, suites/ or datasets/ in it")
            self.folders.append(Path(extra))
        self._read = cache(self._read)

    def names(self, kind: str) -> list[str]:
        return sorted({path.stem for folder in self.folders for path in (folder / kind).glob("*.yaml")})

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
        return self._read("studies", name)

    def suite(self, name: str) -> Suite:
        return self._read("suites", name)

    def dataset(self, name: str) -> Dataset:
        return self._read("datasets", name)

    def _read(self, kind: str, name: str) -> Any:
        path = self.path(kind, name)
        return validate(KINDS[kind], read_yaml(path), path)


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
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (did you mean `{close[0]}`?)" if close else ""


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
