"""Suite + studies -> arms and runs, each named by its content. Imports no torch: Snakemake parses with this."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ablations import layout
from ablations.config import (
    THROUGH_TRAINING,
    TUNED,
    Claim,
    Dataset,
    Factor,
    Level,
    Levels,
    Library,
    Recipe,
    Scalar,
    Search,
    SearchInSuite,
    Study,
    Suite,
    label,
    leave_factors_alone,
    listed,
    parse_factor,
    read_yaml,
    set_fields,
    with_labels,
)
from ablations.errors import UserError
from ablations.networks import Network, family
from ablations.schema import One, Sequence, Strict, fault, names, suggestion, validate

# Raised when the same model, recipe, data and seed would give other numbers than before. A changed default
# of a model or recipe field counts as such a change: defaults are left out of the hash (see `content_id`).
ENGINE_VERSION = 5
# The same for the preparation of data: its splits, its noise.
PREPARATION_VERSION = 1
# Of a study: its arms are planned in seconds, and Snakemake plans a thousand jobs in one.
MOST_ARMS, MOST_RUNS = 10_000, 100_000


def content_id(content: Mapping[str, Any]) -> str:
    """Name of a content: 16 hexadecimal digits of the SHA-256 of its canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def identity(part: Strict, without: set[str] = frozenset()) -> dict[str, Any]:
    """What of a definition can change numbers. Fields at their default are left out, so that a field added
    to the vocabulary later renames no run trained before it."""
    return part.model_dump(mode="json", exclude_defaults=True, exclude=without)


def prepared_identity(dataset: Dataset) -> dict[str, Any]:
    """What of a data set's definition, and of the code that prepares it, can change numbers."""
    return {"version": PREPARATION_VERSION, **identity(dataset, without={"title"})}


def data_key(name: str, dataset: Dataset) -> str:
    """Names the prepared data file: a changed definition is another file."""
    return f"{name}-{content_id(prepared_identity(dataset))[:8]}"


@dataclass(frozen=True)
class Arm:
    """One network with one recipe on one data set. Arms of different studies may be the same."""

    model: Network
    recipe: Recipe
    dataset: Dataset
    dataset_name: str

    @cached_property
    def id(self) -> str:
        """Names the arm before its data are prepared; Snakemake's files carry it."""
        return content_id({**self.content, "dataset": prepared_identity(self.dataset)})

    @cached_property
    def content(self) -> dict[str, Any]:
        """What of its network and recipe, and of the engine, can change numbers."""
        return {
            "engine": ENGINE_VERSION,
            "model": {"family": self.model.family, **identity(self.model)},
            "recipe": identity(self.recipe),
        }

    @cached_property
    def data_key(self) -> str:
        return data_key(self.dataset_name, self.dataset)

    @property
    def name(self) -> str:
        return self.model.name


@dataclass(frozen=True)
class Run:
    """An arm with a seed: the unit that is trained and kept."""

    arm: Arm
    seed: int
    fingerprint: str  # of the prepared data

    @cached_property
    def id(self) -> str:
        """Equal content, equal id: model, recipe, data, seed and engine version, and nothing else. `run_of` is the way
        back from what is written down."""
        return content_id({**self.arm.content, "data": self.fingerprint, "seed": self.seed})

    @cached_property
    def config(self) -> dict[str, Any]:
        """What is written down with the run: every field, defaults too."""
        return {
            "engine": ENGINE_VERSION,
            "model": self.arm.model.model_dump(mode="json"),
            "recipe": self.arm.recipe.model_dump(mode="json"),
            "dataset": {"name": self.arm.dataset_name, **self.arm.dataset.model_dump(mode="json")},
            "data": self.fingerprint,
            "seed": self.seed,
        }


class Config(Strict):
    """What a run's config.json holds; see `Run.config`."""

    engine: int
    model: dict[str, Any]
    recipe: dict[str, Any]
    dataset: dict[str, Any]
    data: str
    seed: int


def run_of(config: Any) -> Run:
    """The run that a config.json of this engine version describes. ValueError where it is none: of another engine
    version, or with fields or values that this version does not have."""
    try:
        known = Config.model_validate(config)
    except ValidationError as error:
        raise ValueError("; ".join(fault(Config, details) for details in error.errors())) from None
    if known.engine != ENGINE_VERSION:
        raise ValueError(f"of engine version {known.engine}, this is {ENGINE_VERSION}")
    dataset = dict(known.dataset)
    name = dataset.pop("name", "")
    arm = Arm(
        settle(family(known.model), known.model, "model"),
        settle(Recipe, known.recipe, "recipe"),
        settle(Dataset, dataset, "dataset"),
        name,
    )
    return Run(arm, known.seed, known.data)


@dataclass(frozen=True)
class PlannedStudy:
    """A study as a suite runs it: its arms by their levels, in the order of the levels."""

    name: str
    study: Study
    factors: Mapping[str, Factor]
    arms: Mapping[tuple[str, ...], Arm]
    seeds: tuple[int, ...]
    target_error: float | None = None  # validation error in percent; no part of any id
    search: Search | None = None

    def levels(self, key: tuple[str, ...]) -> dict[str, str]:
        """The level of each factor, by its name, of the arm at `key`."""
        return dict(zip(self.factors, key, strict=True))

    def select(self, levels: Mapping[str, Levels]) -> dict[tuple[str, ...], Arm]:
        """The arms at the given level, or one of the given levels, of some factors; `first` and `last` are a factor's
        own. UserError for an unknown factor or level."""
        wanted = {name: self.known_levels(name, listed(value)) for name, value in levels.items()}
        return {
            key: arm
            for key, arm in self.arms.items()
            if all(self.levels(key)[name] in some for name, some in wanted.items())
        }

    @property
    def through_training(self) -> set[str]:
        """The ids of the arms whose runs keep snapshots, since a diagnostic follows them through training."""
        found = set()
        for name in self.study.diagnostics.keys() & set(THROUGH_TRAINING):
            with contextlib.suppress(UserError):  # the suite lacks these arms; the report says it
                found |= {arm.id for arm in self.select(self.study.diagnostics[name].arms).values()}
        return found

    def known_levels(self, name: str, values: list[Scalar]) -> set[str]:
        """The labels of some levels of a factor. UserError where the suite does not have them."""
        if name not in self.factors:
            known = ", ".join(self.factors)
            raise UserError(
                f"study {self.name} has no factor `{name}`{suggestion(name, self.factors)}; known: {known}"
            )
        known = [level.label for level in self.factors[name].levels]
        wanted = {{"first": known[0], "last": known[-1]}.get(label(value), label(value)) for value in values}
        if unknown := wanted - set(known):
            raise UserError(
                f"factor {name} has no level `{min(unknown)}` in this suite; known: {names(known)}"
            )
        return wanted


@dataclass(frozen=True)
class Job:
    """What Snakemake trains at a time: an arm with some of its seeds."""

    arm: Arm
    part: int
    seeds: tuple[int, ...]
    snapshots: bool = False  # whether its runs keep the weights of some epochs; no part of any id

    @property
    def name(self) -> str:
        return f"{self.arm.id}-{self.part}"


@dataclass(frozen=True)
class Plan:
    """All that a suite can train. Studies that the suite does not list run at their own levels when named."""

    suite_name: str
    suite: Suite
    studies: Mapping[str, PlannedStudy]
    unfit: Mapping[str, str]  # studies that the suite does not list and cannot run, with the reason
    library: Library

    @cached_property
    def jobs(self) -> dict[str, Job]:
        """By name. An arm that studies share is there once, with the seeds of all of them."""
        arms: dict[str, Arm] = {}
        seeds: dict[str, set[int]] = {}
        for planned in self.studies.values():
            for arm in planned.arms.values():
                arms.setdefault(arm.id, arm)
                seeds.setdefault(arm.id, set()).update(planned.seeds)
        size, kept = self.suite.seeds_per_job, self.through_training
        jobs = (job for arm in arms.values() for job in cut(arm, sorted(seeds[arm.id]), size, arm.id in kept))
        return {job.name: job for job in jobs}

    @cached_property
    def through_training(self) -> set[str]:
        """The ids of the arms whose runs keep snapshots for a study, whichever it is."""
        return set().union(*(planned.through_training for planned in self.studies.values()))

    @cached_property
    def arm_jobs(self) -> dict[str, list[Job]]:
        """The jobs of an arm, by its id."""
        grouped: dict[str, list[Job]] = {}
        for job in self.jobs.values():
            grouped.setdefault(job.arm.id, []).append(job)
        return grouped

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        """By data key, the name of the prepared file."""
        return {job.arm.data_key: job.arm.dataset for job in self.jobs.values()}

    def jobs_of(self, study: str) -> list[Job]:
        """The jobs that train a study's arms."""
        arms = dict.fromkeys(arm.id for arm in self.study(study).arms.values())
        return [job for arm in arms for job in self.arm_jobs[arm]]

    @property
    def listed(self) -> list[str]:
        """The studies of the suite's own report."""
        return list(self.suite.studies if self.suite.report is None else self.suite.report)

    def study(self, name: str) -> PlannedStudy:
        """A study of the plan; `depth-tuned` is `depth` with the settings that its search found. UserError where it is
        unknown, why the suite cannot run it, or where nothing has been found yet."""
        if name.endswith(TUNED):
            return self.tuned(name.removesuffix(TUNED))
        if name in self.unfit:
            raise UserError(self.unfit[name])
        if name not in self.studies:
            known = names(self.studies)
            raise UserError(f"unknown study `{name}`{suggestion(name, self.studies)}; known: {known}")
        return self.studies[name]

    def tuned(self, name: str) -> PlannedStudy:
        """A study whose arms have the settings that its search found."""
        planned, path = self.study(name), layout.best(self.suite_name, name)
        if planned.search is None:
            raise UserError(f"{self.library.path('studies', name)}: the study has no `search`")
        if not path.is_file():
            raise UserError(
                f"{path}: not there yet; make it with: snakemake search --cores all --config suite={self.suite_name} "
                f"study={name}"
            )
        found = {key: arm.settings for key, arm in read_best(path).items()}
        if found.keys() != planned.arms.keys():
            raise UserError(f"{path}: the arms of the study have changed since; search again")
        study = planned.study.model_copy(update={"title": f"{planned.study.title}, tuned", "diagnostics": {}})
        arms = {key: retuned(arm, found[key]) for key, arm in planned.arms.items()}
        return replace(planned, name=f"{name}{TUNED}", study=study, arms=arms)

    @property
    def with_tuned(self) -> list[str]:
        """The studies that the suite can run, and those of them that a search has tuned as they are now."""
        found = list(self.studies)
        for name in self.studies:
            if layout.best(self.suite_name, name).is_file():
                with contextlib.suppress(UserError):  # its arms have changed since
                    found.append(self.tuned(name).name)
        return found

    def train_command(self, study: str, key: tuple[str, ...], seed: int) -> str:
        """What trains one run of a study, or trains it anew where it is damaged."""
        levels = " ".join(f"{factor}={level}" for factor, level in self.study(study).levels(key).items())
        extra = f" --extra {self.library.extra}" if self.library.extra else ""
        return f"ablations train {study} {levels} --seeds {seed} --suite {self.suite_name}{extra}"

    def reported(self, name: str) -> list[PlannedStudy]:
        """The studies of a report: all that the suite lists for `report`, one for a study's own name. UserError where
        the suite lists none."""
        if name == "report" and not self.listed:
            where = self.library.path("suites", self.suite_name)
            raise UserError(
                f"{where}: studies: the suite lists none for a report; list some, or name a study"
            )
        return [self.study(study) for study in (self.listed if name == "report" else [name])]

    def family(self, name: str) -> list[Claim]:
        """The claims that the p values of a report are adjusted over: those of the suite's own report, in the reports
        of its studies too, tuned or not, so that the same runs get no bolder verdict there. A study that the suite
        does not report has its own."""
        study = name.removesuffix(TUNED)
        studies = self.listed if name == "report" or study in self.listed else [study]
        return [claim for each in studies for claim in self.study(each).study.claims.values()]


class Found(Strict):
    """What a search found for an arm: its levels and the settings of its best trial, if one was finished."""

    levels: dict[str, str]
    settings: dict[str, One]
    trial: int | None = None
    validation_error: float | None = None


class Outcome(Strict):
    """What a search found for each arm of a study."""

    study: str | None = None
    suite: str | None = None
    arms: Sequence(Found)


def read_best(path: Path) -> dict[tuple[str, ...], Found]:
    """What a search found for each arm, by its levels. UserError where the file is damaged."""
    outcome = validate(Outcome, read_yaml(path, largest=math.inf), path)
    return {tuple(arm.levels.values()): arm for arm in outcome.arms}


def cut(arm: Arm, seeds: list[int], size: int | None, snapshots: bool) -> Iterator[Job]:
    """An arm's seeds in jobs of `size`; all in one where it is None."""
    size = size or len(seeds)
    for part, start in enumerate(range(0, len(seeds), size)):
        yield Job(arm, part, tuple(seeds[start : start + size]), snapshots)


def make_plan(library: Library, suite_name: str) -> Plan:
    """The plan of a suite over every study of the library. UserError where the YAML does not fit together."""
    suite = library.suite(suite_name)
    where = library.path("suites", suite_name)
    known = library.names("studies")
    for name in suite.studies:
        if name not in known:
            raise UserError(
                f"{where}: studies.{name}: unknown study{suggestion(name, known)}; known: {names(known)}"
            )
    studies = {name: plan_study(library, suite_name, name) for name in suite.studies}
    unfit = {}
    for name in known:
        if name not in studies:
            try:
                studies[name] = plan_study(library, suite_name, name)
            except UserError as error:
                unfit[name] = str(error)
    return Plan(suite_name, suite, studies, unfit, library)


def plan_study(library: Library, suite_name: str, name: str) -> PlannedStudy:
    """A study's arms in a suite. What is nearer to the arm wins: the suite's recipe, the study's, the suite's
    for this study, the level's."""
    suite, study = library.suite(suite_name), library.study(name)
    special = suite.studies.get(name)
    where = library.path("suites", suite_name)
    factors = dict(study.factors)
    if special:
        for factor, levels in special.levels.items():
            try:
                factors[factor] = narrowed(study, factor, levels)
            except ValueError as error:
                raise UserError(f"{where}: studies.{name}.levels.{factor}: {error}") from None
    layers = [suite, study] + ([special] if special else [])
    base = {
        part: {k: v for layer in layers for k, v in set_fields(getattr(layer, part)).items()}
        for part in ("model", "recipe")
    }
    dataset_name = (special and special.data) or suite.data
    if dataset_name not in library.names("datasets"):
        known = library.names("datasets")
        key = f"studies.{name}.data" if special and special.data else "data"
        raise UserError(
            f"{where}: {key}: unknown data set `{dataset_name}`{suggestion(dataset_name, known)}; known: {names(known)}"
        )
    dataset = library.dataset(dataset_name)
    seeds = (special and special.seeds) or suite.seeds
    combinations = math.prod(len(factor.levels) for factor in factors.values())
    if combinations > MOST_ARMS or combinations * seeds > MOST_RUNS:
        raise UserError(
            f"{library.path('studies', name)} in {where}: {combinations:,} combinations of levels and {seeds:,} seeds; "
            f"a study has at most {MOST_ARMS:,} arms and {MOST_RUNS:,} runs. Give fewer levels or seeds"
        )
    arms = {}
    for levels in itertools.product(*(factor.levels for factor in factors.values())):
        key = tuple(level.label for level in levels)
        if study.skips(dict(zip(factors, key, strict=True))):
            continue
        try:
            model_fields, recipe_fields = (
                with_levels(base[part], part, levels) for part in ("model", "recipe")
            )
            model = settle(family(model_fields), model_fields, "model")
            recipe = settle(Recipe, recipe_fields, "recipe")
        except ValueError as error:
            arm = ", ".join(f"{factor} = {level}" for factor, level in zip(factors, key, strict=True))
            files = f"{library.path('studies', name)} in {where}"
            raise UserError(f"{files}: arm {arm}: {error}") from None
        if dataset.train is not None and recipe.batch_size > dataset.train:
            raise UserError(
                f"{library.path('studies', name)} in {where}: recipe.batch_size {recipe.batch_size} is more than the "
                f"{dataset.train} training images of data set {dataset_name}"
            )
        arms[key] = Arm(model, recipe, dataset, dataset_name)
    if not arms:
        raise UserError(f"{library.path('studies', name)} in {where}: `skip` leaves no arm")
    target = suite.target_error
    if special and special.target_error is not None:  # 0 is a target too
        target = special.target_error
    try:
        search = merged(study.search, suite.search, special.search if special else SearchInSuite())
        if search:
            leave_factors_alone(search, factors)
            check_ends(next(iter(arms.values())), search)  # the others, when the search begins
    except ValueError as error:
        raise UserError(f"{library.path('studies', name)} in {where}: {error}") from None
    return PlannedStudy(name, study, factors, arms, tuple(range(seeds)), target, search)


def merged(search: Search | None, every: SearchInSuite, special: SearchInSuite) -> Search | None:
    """A study's search as a suite runs it: what the suite says of every study wins over the study's own, and what it
    says of this one over both; the space by field. ValueError where they do not go together."""
    if search is None and not special.model_fields_set:
        return None
    layers = [search, every, special] if search else [every, special]
    given = {name: getattr(layer, name) for layer in layers for name in layer.model_fields_set}
    space = {path: dimension for layer in layers for path, dimension in layer.space.items()}
    if not space:
        raise ValueError("the study has no `search`; give it a `space`")
    return settle(Search, {**given, "space": space}, "search")


def check_ends(arm: Arm, search: Search) -> None:
    """ValueError where the ends of a dimension do not fit the arm; what is asked only under a condition is told when a
    trial meets it."""
    for path, dimension in search.space.items():
        for value in dimension.ends if not dimension.when else ():
            try:
                retuned(arm, {path: value})
            except UserError as error:
                raise ValueError(f"search.space: {error}") from None


def retuned(arm: Arm, settings: Mapping[str, Scalar]) -> Arm:
    """An arm with other values of some fields, by path. UserError where they do not go together."""
    parts = {}
    for part, definition in (("model", arm.model), ("recipe", arm.recipe)):
        changed = {
            path.removeprefix(f"{part}."): value
            for path, value in settings.items()
            if path.startswith(f"{part}.")
        }
        try:
            parts[part] = settle(type(definition), {**definition.model_dump(), **changed}, part)
        except ValueError as error:
            raise UserError(f"arm {arm.name} with {settings}: {error}") from None
    return replace(arm, **parts)


def narrowed(study: Study, name: str, levels: Any) -> Factor:
    """A factor with the levels that a suite gives it: labels of the study's, or new values or settings."""
    if name not in study.factors:
        raise ValueError(
            f"no such factor{suggestion(name, study.factors)}; known: {', '.join(study.factors)}"
        )
    factor = study.factors[name]
    if factor.field is not None or not isinstance(levels, list):
        return parse_factor(name, levels)
    by_label = {level.label: level for level in factor.levels}
    if unknown := [label(value) for value in levels if label(value) not in by_label]:
        raise ValueError(f"unknown level {names(unknown)}; known: {names(by_label)}")
    return with_labels(None, [by_label[label(value)] for value in levels])


def with_levels(fields: Mapping[str, Any], part: str, levels: tuple[Level, ...]) -> dict[str, Any]:
    """The fields of `part`, model or recipe, as the levels of an arm set them."""
    changed = {path: value for level in levels for path, value in level.settings.items()}
    return {
        **fields,
        **{p.removeprefix(f"{part}."): v for p, v in changed.items() if p.startswith(f"{part}.")},
    }


def settle(kind: type[Strict], fields: Mapping[str, Any], part: str) -> Any:
    """A model or recipe from its fields. ValueError with every fault where they do not go together."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        faults = (f"{part}{'.' if d['loc'] else ': '}{fault(kind, d)}" for d in error.errors())
        raise ValueError("; ".join(dict.fromkeys(faults))) from None
