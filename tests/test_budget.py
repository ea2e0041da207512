"""What a suite may train without asking: counted, estimated, and asked for by the command line and by Snakemake."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import TINY, snakemake, write
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations import layout, resources
from ablations.budget import Planned, left, planned
from ablations.cli import main
from ablations.config import Budget, Library
from ablations.cost import Cost
from ablations.data import Header
from ablations.errors import UserError
from ablations.plan import Run, make_plan
from ablations.resources import Estimate
from ablations.store import SUMS, Store

SHIPPED = Library().names("suites")
# What the suites are made for: CIFAR-10 on a GPU.
KIND = {name: "cuda" if name.startswith("cifar10") else "cpu" for name in SHIPPED}
SMOKE = next(iter(make_plan(Library(), "smoke").jobs.values()))
OWN = ("--suite", "tiny", "--extra", "my")


def define(folder: Path, limits: str = "{}", more: str = "") -> None:
    """A suite of two networks with two seeds each, and a budget."""
    write(folder / "my" / "suites" / "tiny.yaml", f"{TINY.format(seeds=2)}budget: {limits}\n{more}")


@pytest.fixture
def tiny(workspace):
    define(workspace)
    return make_plan(Library("my"), "tiny")


# ------------------------------------------------------------------------------------------ counting


@given(
    st.integers(0, 10**6),
    *[st.floats(0, 1e4)] * 2,
    st.integers(1, 10**6),
    *[st.floats(0.01, 1e4)] * 2,
)
def test_each_limit_is_told_when_it_is_passed(runs, hours, disk_gb, most_runs, most_hours, most_gb):
    beyond = Planned(runs, hours, disk_gb, "somewhere").beyond(
        Budget(runs=most_runs, hours=most_hours, disk_gb=most_gb)
    )
    told = " ".join(beyond)
    assert ("runs" in told, "hours" in told, "GB" in told) == (
        runs > most_runs,
        hours > most_hours,
        disk_gb > most_gb,
    )


@pytest.mark.parametrize(
    ("planned", "told"),
    [
        (Planned(1, 0.01, 0.0123, "x"), "1 run to train, about 36 s one after another, 12 MB on disk (x)"),
        (
            Planned(1234, 5.5, 3.21, "x"),
            "1,234 runs to train, about 5 h 30 min one after another, 3.2 GB on disk (x)",
        ),
        (
            Planned(2, 1234.5, 4321.0, "x"),
            "2 runs to train, about 1,234 hours one after another, 4,321.0 GB on disk (x)",
        ),
    ],
)
def test_it_is_told_in_words(planned, told):
    assert str(planned) == told


@settings(deadline=None, max_examples=20)
@given(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
def test_what_is_in_the_store_does_not_count(tmp_path_factory, finished, begun):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("store"))
        arm = SMOKE.arm
        store, header = Store(layout.RESULTS), Header("f", {}, (1, 8, 8), 10)
        for seed in begun:
            write(store.path(Run(arm, seed, "f")) / "checkpoint", "")
        for seed in finished:
            write(store.path(Run(arm, seed, "f")) / SUMS, "")
        assert left(arm, range(10), header, snapshots=False) == 10 - len(finished)
        assert left(arm, range(10), None, snapshots=False) == 10  # before the data are there


def test_what_is_estimated_is_taken_and_the_rest_guessed(tiny):
    jobs = tiny.jobs_of("depth")
    arms = [(job.arm, job.seeds) for job in jobs]
    guessed = planned(tiny, arms, "cpu")
    assert guessed.runs == 4 and guessed.source == "a guess; closer: ablations plan --resources"
    resources.write(
        "tiny",
        {
            job.name: Estimate(job.name, "net", 2, 10.0, 1795.0, 800.0, None, 250.0, "chip", Cost(1, 1, 1, 1))
            for job in jobs[:1]
        },
    )
    half = planned(tiny, arms[:1], "cpu")
    assert (half.runs, half.source) == (2, "estimated for chip")
    assert (half.hours, half.disk_gb) == (pytest.approx(1.0), pytest.approx(0.5))
    both = planned(tiny, arms, "cpu")
    assert both.hours == pytest.approx(1.0 + guessed.hours / 2)
    assert both.source == f"estimated for chip, {guessed.source}"
    trials = planned(tiny, [], "cpu", trials=[(jobs[0].arm, 40)])
    assert trials.runs == 40 and trials.hours == pytest.approx((10 + 40 * 1795) / 3600)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_suites_are_within_their_budget(name, workspace):
    plan = make_plan(Library(), name)
    everything = {
        job.name: (job.arm, job.seeds) for study in plan.suite.studies for job in plan.jobs_of(study)
    }
    found = planned(plan, everything.values(), KIND[name])
    assert found.runs > 0 and found.beyond(plan.suite.budget) == []


def test_so_are_the_searches_of_the_default_suite(workspace):
    plan = make_plan(Library(), "digits")
    studies = [plan.studies[study] for study in plan.listed]
    trials = [(arm, each.search.trials * each.search.seeds) for each in studies for arm in each.arms.values()]
    assert planned(plan, [], "cpu", trials).beyond(plan.suite.budget) == []


# ------------------------------------------------------------------------------------------ in YAML


@pytest.mark.parametrize(
    ("limits", "fault"),
    [
        ("{hours: 0}", "budget.hours: found 0; should be greater than 0"),
        ("{runs: 1.5}", "budget.runs: found 1.5; should be a valid integer"),
        ("{hour: 5}", r"budget.hour: unknown key \(did you mean `hours`\?\); allowed: runs, hours, disk_gb"),
        ("50", "budget"),
    ],
)
def test_a_wrong_budget_is_told(workspace, limits, fault):
    define(workspace, limits)
    with pytest.raises(UserError, match=rf"my/suites/tiny.yaml: {fault}"):
        Library("my").suite("tiny")


def test_what_is_not_given_keeps_its_default(workspace):
    define(workspace, "{hours: 7}")
    limits = Library("my").suite("tiny").budget
    assert limits == Budget(hours=7) and limits.runs == Budget().runs


# ------------------------------------------------------------------------------------------ the commands


def finished_runs() -> int:
    return len(list(layout.RESULTS.glob("runs/*/metrics.json")))


def test_training_asks_where_it_is_more(workspace, capsys):
    define(workspace, "{runs: 2}")
    assert main(["train", "depth", *OWN]) == 2
    told = capsys.readouterr().err
    assert re.match(
        r"ablations: suite tiny: 4 runs to train, about \d+ s one after another, \d MB on disk \(a guess; closer: "
        r"ablations plan --resources\)\. That is more than the budget of 2 runs; nothing was started\. Go on with --yes, "
        r"or give a larger `budget` in my/suites/tiny\.yaml$",
        told,
        re.MULTILINE,
    )
    assert not layout.RESULTS.exists()
    assert main(["train", "depth", "shortcut=none", *OWN]) == 0 and finished_runs() == 2
    assert main(["train", "depth", *OWN]) == 0 and finished_runs() == 4  # two are there already

    define(workspace, "{runs: 1}")
    job = make_plan(Library("my"), "tiny").jobs_of("depth")[0]
    layout.RESULTS.joinpath("runs").rename("elsewhere")
    assert main(["train", "--job", job.name, *OWN]) == 0  # Snakemake has asked
    assert main(["train", "depth", *OWN]) == 2
    assert main(["train", "depth", "--yes", *OWN]) == 0 and finished_runs() == 4


def test_searching_asks_where_it_is_more(workspace, capsys, monkeypatch):
    define(workspace, "{runs: 15}", "search: {trials: 4, seeds: 2}\n")
    monkeypatch.setattr("ablations.cli.do_parts", lambda *_: print("searching"))
    assert main(["search", "depth", *OWN]) == 2
    assert "16 runs to train" in capsys.readouterr().err
    for more in (["--yes"], ["--part", "work"]):  # a worker of Snakemake's, which has asked
        assert main(["search", "depth", *more, *OWN]) == 0
        assert "searching" in capsys.readouterr().out


def test_snakemake_asks_where_it_is_more(workspace):
    define(workspace, "{runs: 3}")
    own = ("--config", "suite=tiny", "extra=my")
    assert re.search(
        r"^4 runs to train, .* \(a guess.*\); more than the budget of 3 runs$",
        snakemake("-n", *own, folder=workspace),
        re.MULTILINE,
    )
    output = snakemake(*own, folder=workspace, check=False)
    assert "suite tiny: 4 runs to train" in output and "Traceback" not in output
    assert (
        "more than the budget of 3 runs; nothing was started. Go on with --config yes=true or, say," in output
    )
    assert not (layout.RESULTS / "data").exists() and not finished_runs()

    job = make_plan(Library("my"), "tiny").jobs_of("depth")[0]
    within = (f"results/tiny/arms/{job.name}.csv", *own)  # two runs of the four
    snakemake(*within, folder=workspace)
    assert finished_runs() == 2
    output = snakemake("-n", *own, "budget_runs=1", folder=workspace)
    assert re.search(r"^2 runs to train, .*; more than the budget of 1 runs$", output, re.MULTILINE)
    other = make_plan(Library("my"), "tiny").jobs_of("depth")[1]
    snakemake(f"results/tiny/arms/{other.name}.csv", *own, "yes=true", "budget_runs=1", folder=workspace)
    assert finished_runs() == 4


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("yes=maybe", "--config: yes: found 'maybe'; should be a valid boolean"),
        ("budget_hours=-1", "--config budget_...: hours: found -1.0; should be greater than 0"),
    ],
)
def test_snakemake_tells_a_wrong_option(workspace, given, fault):
    output = snakemake("-n", "--config", given, folder=workspace, check=False)
    assert fault in output and "Traceback" not in output
