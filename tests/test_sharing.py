"""What a machine packs for others: its runs and what was made of them, and nothing about itself."""

from __future__ import annotations

import getpass
import json
import platform
import re
import tarfile
import time
from pathlib import Path

import pytest
from conftest import write
from ruamel.yaml import YAML
from stores import job_tables, made_up, plan_of

from ablations import layout, sharing
from ablations.archive import Archive
from ablations.cli import main
from ablations.config import Dataset, Library, Study, Suite
from ablations.data import prepare
from ablations.errors import UserError
from ablations.plan import ENGINE_VERSION, PREPARATION_VERSION, make_plan
from ablations.schema import validate
from ablations.sharing import as_written, export, yaml_bytes
from ablations.store import LEFT_OUT, SUMS, WEIGHTS, Store, read_sums, runs_of, snapshot

OF_A_RUN = {"config.json", "environment.json", "history.csv", "metrics.json"}


@pytest.fixture
def plan(workspace):
    """A suite of four runs, all of them there."""
    plan = plan_of(workspace)
    made_up(plan, (0, 1))
    return plan


def files(path):
    """The files of an archive by name."""
    return dict(Archive(Path(path)).members("reading"))


def of_runs(found):
    """The files of each run by name."""
    runs: dict[str, dict[str, bytes]] = {}
    for name, content in found.items():
        if name.startswith("results/runs/"):
            runs.setdefault(name.split("/")[2], {})[name.split("/")[3]] = content
    return runs


def test_runs_are_packed_without_weights_and_with_their_checksums(plan, capsys):
    assert main(["export", "--suite", "mine", "--extra", "my"]) == 0
    runs, store = of_runs(files("mine.tar.gz")), Store(layout.RESULTS)
    assert set(runs) == set(store.ids()) and len(runs) == 4
    for run, packed in runs.items():
        sums = store.sums(run)
        assert set(packed) == OF_A_RUN | {LEFT_OUT}
        assert all(packed[name] == store.file(run, name) for name in OF_A_RUN)
        assert read_sums(packed[LEFT_OUT].decode()) == {name: sums[name] for name in (WEIGHTS, snapshot(1))}
    assert (
        "mine.tar.gz: 4 runs of depth, without their weights (--weights takes them along)"
        in capsys.readouterr().out
    )


def test_weights_go_along_where_they_are_asked_for(plan):
    assert (
        main(["export", "depth", "--suite", "mine", "--extra", "my", "--weights", "--out", "some/where.tgz"])
        == 0
    )
    store = Store(layout.RESULTS)
    for run, packed in of_runs(files("some/where.tgz")).items():
        assert packed == {name: store.file(run, name) for name in store.sums(run)}


def test_the_manifest_says_what_is_there(plan):
    made_up(plan, (1,), torch="2.16.0")
    export(plan, None, Path("a"), weights=False)
    manifest, (key,) = (
        Archive(Path("a")).manifest,
        {arm.data_key for arm in plan.study("depth").arms.values()},
    )
    assert (manifest.engine, manifest.preparation, manifest.suite) == (
        ENGINE_VERSION,
        PREPARATION_VERSION,
        "mine",
    )
    assert manifest.studies == ("depth",) and not manifest.weights
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", manifest.created)
    assert {(each.runs, each.torch, each.device) for each in manifest.environments} == {
        (2, "2.15.0", "a processor"),
        (2, "2.16.0", "a processor"),
    }
    expected = {
        (run.id, run.arm.id, run.arm.name, seed, run.fingerprint)
        for _, seed, run in runs_of(plan.study("depth"))
    }
    assert {(run.id, run.arm, run.network, run.seed, run.fingerprint) for run in manifest.runs} == expected
    assert all(run.studies == ("depth",) for run in manifest.runs)
    (data,) = manifest.data
    assert (data.key, data.fingerprint) == (key, manifest.runs[0].fingerprint)
    found = files("a")
    assert {entry.name: entry.size for entry in manifest.files} == {
        name: len(content) for name, content in found.items()
    }
    assert json.loads(found[f"results/data/{key}.json"])["fingerprint"] == data.fingerprint
    assert not any(name.endswith(".safetensors") for name in found)  # no images


def test_tables_and_reports_go_along_and_nothing_else(plan):
    job_tables(plan)
    there = [
        "results/mine/depth/runs.csv",
        "results/mine/depth/history.csv",
        "results/mine/depth/cost.csv",
        "results/mine/depth/diagnostics/lesions.csv",
        "results/mine/depth/search/best.yaml",
        "results/mine/depth/search/trials.csv",
        "results/mine/report-verdicts.csv",
        "results/mine/depth-verdicts.csv",
        "report/mine/report.md",
        "report/mine/report.html",
        "report/mine/report.pdf",
        "report/mine/report-runs.csv",
        "report/mine/depth.md",
        "report/mine/figures/depth/error.svg",
        "report/mine/figures/depth-verdicts.svg",
    ]
    left = [
        "results/mine/search/trials.journal",
        "results/mine/depth/search/ended-0",
        "results/mine/logs/train/log",
        "results/other/depth/runs.csv",
        "report/mine/.report.md.x.tmp",
        "report/mine/mine.tar.gz",
        "report/other/report.md",
    ]
    for name in (*there, *left):
        write(Path(name), "arms: []" if name.endswith(".yaml") else name)
    export(plan, None, Path("a"), weights=False)
    found = files("a")
    others = {name for name in found if not name.startswith(("results/runs", "results/data", "definitions"))}
    assert others == set(there) and all(found[name] == Path(name).read_bytes() for name in there)
    export(plan, "depth", Path("b"), weights=False)
    of_study = {name for name in there if "/depth" in name}
    assert {name for name in files("b") if name in there} == of_study


def test_what_is_not_finished_or_damaged_is_named_and_left_out(plan, capsys):
    store, runs = Store(layout.RESULTS), [run for _, _, run in runs_of(plan.study("depth"))]
    (store.path(runs[0]) / SUMS).unlink()
    weights = store.path(runs[3]) / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    export(plan, None, Path("a"), weights=False)
    told = capsys.readouterr().out
    assert "left out: 1 run of depth not finished: none 8 seeds 0" in told
    assert (
        f"left out: {weights}: its content does not match SHA256SUMS; train it anew: ablations train depth"
        in told
    )
    assert "depth=8 shortcut=identity --seeds 1 --suite mine" in told.replace(
        "shortcut=identity depth=8", "depth=8 shortcut=identity"
    )
    assert set(of_runs(files("a"))) == {runs[1].id, runs[2].id}


def test_without_any_run_there_is_nothing_to_export(workspace, capsys):
    plan_of(workspace)
    assert main(["export", "--suite", "mine", "--extra", "my"]) == 2
    assert "nothing to export: results/runs holds no finished run of mine" in capsys.readouterr().err
    assert not list(workspace.glob("*.tar.gz"))
    assert main(["export", "depth", "--suite", "mine", "--extra", "my", "--out", "my"]) == 2
    assert "--out: found the folder my; give a file, such as my/mine-depth.tar.gz" in capsys.readouterr().err


def test_the_same_results_make_the_same_archive(plan, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 1000.5)
    for name in ("a", "b"):
        export(plan, None, Path(name), weights=True)
    assert Path("a").read_bytes() == Path("b").read_bytes()


def test_nothing_tells_of_the_machine(workspace, monkeypatch, capsys):
    """Images in some folder of it, a report that was made with a path of it, a home."""
    monkeypatch.setenv("HOME", str(workspace / "home"))
    images = workspace / "private" / "pictures"
    dataset = f"{{title: pictures, source: parquet, path: {images}, validation: 60}}"
    write(workspace / "my" / "datasets" / "pictures.yaml", dataset)
    suite = "{title: t, data: pictures, seeds: 1, recipe: {epochs: 2, batch_size: 64, learning_rate: 0.05}, "
    write(workspace / "my" / "suites" / "mine.yaml", suite + "studies: {depth: {levels: {depth: [8]}}}}")
    plan = make_plan(Library(str(workspace / "my")), "mine")
    for arm in plan.study("depth").arms.values():
        digits = Dataset(title="digits", source="digits", train=256, validation=60, test=120)
        prepare(digits, layout.data(arm.data_key))
    made_up(plan, (0,))
    for name, told in {"report": f"snakemake extra={workspace}/my", "depth": "snakemake"}.items():
        for ending in ("md", "html", "pdf"):
            write(layout.report("mine", name, ending), told)
    write(layout.trials("mine", "depth"), f"out of memory, {workspace}/home/x")
    export(plan, None, Path("a"), weights=False)
    told = capsys.readouterr().out
    assert f"left out: report/mine/report.pdf: it names {workspace}, a folder of this machine" in told
    found = files("a")
    assert {name for name in found if name.startswith("report")} == {
        f"report/mine/depth.{e}" for e in ("md", "html", "pdf")
    }
    configs = [json.loads(content) for name, content in found.items() if name.endswith("config.json")]
    assert [config["dataset"]["path"] for config in configs] == ["pictures"] * 2
    with tarfile.open("a") as tar:
        members = b"".join(tar.extractfile(member).read() for member in tar.getmembers())
    for secret in (str(workspace), "private", platform.node(), f"/{getpass.getuser()}/"):
        assert not re.search(rb"(?<!\w)" + re.escape(secret.encode()) + rb"(?!\w)", members)
    assert re.search(rb'"path": "/', members) is None


@pytest.mark.parametrize("name", Library().names("studies"))
def test_studies_are_packed_in_the_form_of_their_files(name):
    study = Library().study(name)
    assert validate(Study, YAML(typ="safe").load(yaml_bytes(as_written(study)).decode()), name) == study


@pytest.mark.parametrize("name", Library().names("suites"))
def test_suites_are_too(name):
    suite = Library().suite(name)
    assert (
        validate(Suite, YAML(typ="safe").load(yaml_bytes(sharing.set_fields(suite)).decode()), name) == suite
    )


def test_the_definitions_make_the_same_plan(plan):
    export(plan, None, Path("a"), weights=False)
    for name, content in files("a").items():
        if name.startswith("definitions/"):
            write(Path("theirs") / name, content.decode())
    theirs = make_plan(Library("theirs/definitions"), "mine")
    assert theirs.study("depth") == plan.study("depth")


def test_a_study_that_is_not_there_is_told(plan):
    with pytest.raises(UserError, match="unknown study `dept`"):
        export(plan, "dept", Path("a"), weights=False)
    assert not Path("a").exists()
