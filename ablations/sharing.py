"""The runs of a suite in one archive, for the stores of other machines, with the tables, definitions and reports that go
with them, to read. No torch."""

from __future__ import annotations

import io
import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import walk_tree

import ablations
from ablations import layout
from ablations.archive import FORMAT, RUNS, Source, megabytes, pack
from ablations.config import TUNED, Factor, Study, set_fields
from ablations.data import Header, read_header
from ablations.errors import UserError
from ablations.files import json_bytes
from ablations.plan import ENGINE_VERSION, PREPARATION_VERSION, Plan, Run
from ablations.progress import Share, many
from ablations.store import LEFT_OUT, Damaged, Store, is_weights, runs_of, sums_text

REPORTS = (".md", ".html", ".pdf", ".svg", ".csv")  # what a folder of reports holds


@dataclass
class Chosen:
    """A run to export, with the studies it belongs to."""

    run: Run
    studies: list[str]


def export(plan: Plan, study: str | None, out: Path, weights: bool) -> None:
    """Pack the finished runs of a suite, or of a study, with what was made of them. Runs that are not finished, or
    damaged, are named and left out. UserError where there is none."""
    store = Store(layout.RESULTS)
    names = [study] if study else studies_of(plan)
    chosen = finished(plan, names, store)
    if not chosen:
        raise UserError(
            f"nothing to export: {store.folder} holds no finished run of {study or plan.suite_name}"
        )
    names = [name for name in names if any(name in each.studies for each in chosen)]
    headers = {each.run.arm.data_key: read_header(layout.data(each.run.arm.data_key)) for each in chosen}
    sources = [source for each in chosen for source in files_of(each.run, store, weights)]
    beside = [*tables(plan, names, study), *reports(plan, study)]
    sources += [*definitions(plan, names), *headers_of(headers), *beside]
    created = int(time.time())
    about = {
        "format": FORMAT,
        "package": ablations.__version__,
        "engine": ENGINE_VERSION,
        "preparation": PREPARATION_VERSION,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created)),
        "suite": plan.suite_name,
        "studies": names,
        "weights": weights,
        "environments": environments(chosen, store),
        "data": [{"key": key, "fingerprint": header.fingerprint} for key, header in headers.items()],
        "runs": [entry(each) for each in chosen],
    }
    pack(out, about, sources, created)
    told = "with their weights" if weights else "without their weights (--weights takes them along)"
    print(
        f"{out}: {many(len(chosen), 'run')} of {', '.join(names)}, {told}, and {many(len(beside), 'file')} of tables and "
        f"reports; {megabytes(out.stat().st_size)}"
    )


def studies_of(plan: Plan) -> list[str]:
    """The studies that a suite lists, and others that were run in it by their name or as tuned."""
    suite = plan.suite_name
    run = [name for name in plan.with_tuned if layout.study_table(suite, name, "runs").is_file()]
    return list(dict.fromkeys([*plan.suite.studies, *run]))


def finished(plan: Plan, names: Sequence[str], store: Store) -> list[Chosen]:
    """The finished runs of studies, each once, in the order of the studies. Tells which are left out: those that are
    damaged, those that are not finished, and studies without any."""
    chosen: dict[str, Chosen] = {}
    untouched, work = [], {name: list(runs_of(plan.study(name))) for name in names}
    checked = Share("runs: checking", sum(map(len, work.values())))
    for name, runs in work.items():
        lacking: dict[tuple[str, ...], list[int]] = {}
        found = 0
        for key, seed, run in runs:
            checked.add(1)
            try:
                if run is None or (run.id not in chosen and not store.verified(run)):
                    lacking.setdefault(key, []).append(seed)
                    continue
            except Damaged as error:
                print(f"left out: {error}; train it anew: {plan.train_command(name, key, seed)}")
                continue
            found += 1
            studies = chosen.setdefault(run.id, Chosen(run, [])).studies
            studies += [name] if name not in studies else []
        if not found:
            untouched.append(name)
        elif lacking:
            told = "; ".join(
                f"{' '.join(key)} seeds {', '.join(map(str, seeds))}" for key, seeds in lacking.items()
            )
            print(f"left out: {many(sum(map(len, lacking.values())), 'run')} of {name} not finished: {told}")
    if untouched:
        print(f"left out, since no run of theirs is finished: {', '.join(untouched)}")
    return list(chosen.values())


def files_of(run: Run, store: Store, weights: bool) -> Iterator[Source]:
    """The files of a run: its own, without weights where they are not asked for; their SHA-256 goes along."""
    sums, elsewhere = store.sums(run.id), store.left_out(run.id)
    for name in sums:
        if name == LEFT_OUT:
            continue
        if not weights and is_weights(name):
            elsewhere[name] = sums[name]
        else:
            yield Source(f"{RUNS}/{run.id}/{name}", partial(content_of, store, run.id, name))
    if elsewhere:
        yield Source(f"{RUNS}/{run.id}/{LEFT_OUT}", sums_text(elsewhere).encode)


def content_of(store: Store, run: str, name: str) -> bytes:
    """A file of a run, as it is shared: a path of this machine to the images says nothing elsewhere."""
    content = store.file(run, name)
    if name != "config.json":
        return content
    config = json.loads(content)
    config["dataset"] = without_folder(config["dataset"])
    return json_bytes(config)


def without_folder(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """A data set whose images lie in some folder of this machine, with the folder's own name only."""
    path = dataset.get("path")
    return {**dataset, **({"path": Path(path).name} if path and Path(path).is_absolute() else {})}


def entry(chosen: Chosen) -> dict[str, Any]:
    """What the manifest says of a run."""
    run = chosen.run
    return {
        "id": run.id,
        "arm": run.arm.id,
        "network": run.arm.name,
        "seed": run.seed,
        "studies": chosen.studies,
        "fingerprint": run.fingerprint,
    }


def environments(chosen: Sequence[Chosen], store: Store) -> list[dict[str, Any]]:
    """What the runs were trained with, and how many with each."""
    told = ("device", "threads", "torch", "python", "packages")
    stored = (json.loads(store.file(each.run.id, "environment.json")) for each in chosen)
    counts = Counter(tuple(where.get(name) for name in told) for where in stored)
    return [{"runs": count, **dict(zip(told, values, strict=True))} for values, count in counts.items()]


def headers_of(headers: Mapping[str, Header]) -> Iterator[Source]:
    """What each prepared data file says of itself, without its images."""
    for key, header in headers.items():
        yield Source(f"results/data/{key}.json", partial(json_bytes, asdict(header)))


def tables(plan: Plan, names: Sequence[str], study: str | None) -> Iterator[Source]:
    """The tables of studies and of their reports that are there. (The list of a search's trials is not: it may be a
    database; what they came to is in its table.)"""
    suite, paths = plan.suite_name, []
    for name in names:
        paths += [layout.study_table(suite, name, table) for table in ("runs", "history", "cost")]
        paths += sorted(layout.diagnostic(suite, name, "any").parent.glob("*.csv"))
        searched = name.removesuffix(TUNED)
        paths += [layout.verdicts(suite, name), layout.best(suite, searched), layout.trials(suite, searched)]
    if study is None:
        paths.append(layout.verdicts(suite, "report"))
    return present(plan, list(dict.fromkeys(paths)))


def reports(plan: Plan, study: str | None) -> Iterator[Source]:
    """The folder of a suite's reports, or what in it belongs to a study."""
    folder = layout.report(plan.suite_name, "report", "md").parent
    paths = [path for path in sorted(folder.rglob("[!.]*")) if path.suffix in REPORTS]
    if study is not None:
        own = re.compile(rf"{re.escape(study)}(-runs|-verdicts)?")
        paths = [p for p in paths if own.fullmatch(p.stem) or study in p.relative_to(folder).parts]
    return present(plan, paths)


def present(plan: Plan, paths: Sequence[Path]) -> Iterator[Source]:
    """Those files that are there, in an archive under the path that they have here. What names a folder of this machine
    is left out, and told."""
    folders = [Path.cwd(), Path.home(), Path(plan.library.extra or "")]
    names = [re.escape(str(folder)) for folder in folders if folder.is_absolute() and len(folder.parts) > 1]
    named_folder = re.compile(rf"(?<!\w)({'|'.join(names)})(?!\w)".encode())
    for path in paths:
        if not path.is_file():
            continue
        text = path.with_suffix(".md") if path.suffix in (".html", ".pdf") else path  # of one report
        if text.is_file() and (found := named_folder.search(text.read_bytes())):
            print(
                f"left out: {path}: it names {found[0].decode()}, a folder of this machine; make it again where `extra` "
                "is a path relative to the working folder"
            )
        else:
            yield Source(path.as_posix(), path.read_bytes)


# ------------------------------------------------------------------------------------------ definitions to read


def definitions(plan: Plan, names: Sequence[str]) -> Iterator[Source]:
    """Suite, studies and data sets as they were understood, in the form of a folder for `extra`."""
    library = plan.library
    studies = {name.removesuffix(TUNED): library.study(name.removesuffix(TUNED)) for name in names}
    datasets = {arm.dataset_name: arm.dataset for name in names for arm in plan.study(name).arms.values()}
    suite = set_fields(plan.suite)
    suite["studies"] = {name: each for name, each in suite["studies"].items() if name in studies}
    texts = {("suites", plan.suite_name): suite}
    texts |= {("studies", name): as_written(study) for name, study in studies.items()}
    texts |= {("datasets", name): without_folder(set_fields(dataset)) for name, dataset in datasets.items()}
    for (kind, name), definition in texts.items():
        yield Source(f"definitions/{kind}/{name}.yaml", partial(yaml_bytes, definition))
    for own in library.bibliographies[1:]:
        yield Source("definitions/references.bib", own.read_bytes)


def as_written(study: Study) -> dict[str, Any]:
    """A study in the form of its file."""
    return set_fields(study) | {
        "factors": {name: levels_of(factor) for name, factor in study.factors.items()}
    }


def levels_of(factor: Factor) -> Any:
    """A factor in the form of its file: values of its field, or the fields that each level sets."""
    if factor.field is not None:
        return [level.settings[factor.field] for level in factor.levels]
    return {level.label: level.settings for level in factor.levels}


def yaml_bytes(definition: Mapping[str, Any]) -> bytes:
    """YAML for people to read, a text of several lines as one."""
    text, plain, yaml = io.StringIO(), json.loads(json.dumps(definition)), YAML()
    walk_tree(plain)
    yaml.width = 120
    yaml.dump(plain, text)
    return text.getvalue().encode()
