"""Faults are found, each with what mends it; runs that are trained again come to the same bits, or it is said why not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import TINY, examples, write
from hypothesis import given
from hypothesis import strategies as st
from stores import job_tables, made_up, plan_of

from ablations import layout
from ablations.agreement import Outcome, first_difference
from ablations.cli import main
from ablations.collect import collect, write_table
from ablations.config import Library
from ablations.errors import UserError
from ablations.files import json_bytes
from ablations.plan import ENGINE_VERSION, make_plan, run_of
from ablations.store import FILES, SUMS, WEIGHTS, Store, runs_of, snapshot
from ablations.training import again
from ablations.verification import same, verify

MINE = ("--suite", "mine", "--extra", "my")


@pytest.fixture
def plan(workspace):
    """A suite of four runs, all of them there, with the tables of its jobs and of its study."""
    plan = plan_of(workspace)
    made_up(plan, (0, 1))
    job_tables(plan)
    costs = {"macs": 1e6, "norm_ops": 1e3, "parameters": 1e4, "activations": 1e3}
    rows = [{"arm": arm.id, **costs} for arm in plan.study("depth").arms.values()]
    write_table(pd.DataFrame(rows), layout.study_table("mine", "depth", "cost"))
    collect(plan, "depth")
    return plan


@pytest.fixture
def run(plan):
    """The folder of the first of its runs."""
    return Store(layout.RESULTS).path(next(run for _, _, run in runs_of(plan.study("depth"))))


def verified(suite=None, study=None):
    """The faults that are found, by what is wrong, with what mends them."""
    return {fault.what: fault.mend for fault in verify(Library("my"), suite, study).faults}


def change(folder, name, edit):
    """Change a file of a run, and its checksum with it."""
    store, content = Store(layout.RESULTS), json.loads((folder / name).read_bytes())
    store.write(folder.name, {name: json_bytes(edit(content))}, store.sums(folder.name))


def test_what_is_as_it_was_written_has_no_faults(plan, capsys):
    for suite in (MINE, ("depth", *MINE), ("--extra", "my")):
        assert main(["verify", *suite]) == 0
        told = capsys.readouterr().out
        assert "results/runs: 4 runs as they were written\n" in told
        assert "results/data: 1 of 1 prepared data sets as they were written\n" in told
        assert "suite mine: 3 of 3 tables of runs as the store has them\n" in told and told.endswith(
            "No faults.\n"
        )


@pytest.mark.parametrize("name", [*FILES, snapshot(1)])
@pytest.mark.parametrize("damage", ["cut off", "missing"])
def test_a_damaged_file_is_found_and_its_run_trained_anew_by_the_command(plan, run, capsys, name, damage):
    content = (run / name).read_bytes()
    (run / name).unlink()
    if damage == "cut off":
        (run / name).write_bytes(content[:-2])
    reason = "missing" if damage == "missing" else "its content does not match SHA256SUMS"
    command = "ablations train depth shortcut=none depth=8 --seeds 0 --suite mine --extra my"
    assert main(["verify", *MINE]) == 1
    told = capsys.readouterr().out
    assert "3 runs as they were written, 1 damaged" in told
    assert told.endswith(f"1 fault:\n\n{run / name}: {reason}\n    mend it by: {command}\n")


def test_the_commands_mend_it(workspace, capsys):
    write(Path("my/suites/tiny.yaml"), TINY.format(seeds=1))
    plan = make_plan(Library("my"), "tiny")
    assert main(["prepare", "--suite", "tiny", "--extra", "my"]) == 0
    jobs = [["train", "--job", job.name, "--suite", "tiny", "--extra", "my"] for job in plan.jobs_of("depth")]
    assert [main(job) for job in jobs] == [0, 0]
    assert verified() == {}
    first, second = (Store(layout.RESULTS).path(run) for _, _, run in runs_of(plan.study("depth")))
    (first / WEIGHTS).write_bytes(b"")
    change(second, "config.json", lambda config: {**config, "seed": 5})
    path = layout.data(plan.jobs_of("depth")[0].arm.data_key)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    faults = verified()
    assert len(faults) == 3
    for command in faults.values():
        for each in command.split(" && "):
            done = main(each.split()[1:]) if each.startswith("ablations") else subprocess.call(each.split())
            assert done == 0
    # The runs have other times now than the tables of their jobs.
    assert verified("tiny", None).keys() == {
        f for f in verified() if "seconds" in f or "images_per_second" in f
    }
    for table in layout.arm_table("tiny", "x").parent.iterdir():
        table.unlink()
    assert [main(job) for job in jobs] == [0, 0] and verified() == {}
    assert "set aside as" in capsys.readouterr().out


def test_a_config_of_another_run_is_found_though_its_checksum_holds(plan, run):
    change(run, "config.json", lambda config: {**config, "seed": 5})
    (what,) = verified()
    assert what.startswith(f"{run}: its config.json is that of another run, ")
    assert verified()[what].startswith(f"rm -r {run} && ablations train depth ")
    change(run, "config.json", lambda config: {**config, "recipe": {}})
    (what,) = verified()
    assert "another run, none of this version (recipe.epochs: missing" in what


def test_runs_of_other_engine_versions_and_of_no_study_are_left_in_peace(plan, run, capsys):
    change(run, "config.json", lambda config: {**config, "engine": ENGINE_VERSION + 1})
    shutil.copytree(run, run.with_name("0" * 16))
    shutil.rmtree(run)
    shutil.rmtree(layout.RESULTS / "mine")
    assert main(["verify"]) == 0
    assert (
        "4 runs as they were written (1 of other engine versions, whose ids are not checked)"
        in capsys.readouterr().out
    )


def test_what_is_not_finished_or_set_aside_is_counted(plan, run, capsys):
    (run / SUMS).unlink()
    shutil.copytree(run, run.with_name(f"{run.name}.damaged-1"))
    shutil.rmtree(layout.RESULTS / "mine")
    assert main(["verify"]) == 0
    assert "3 runs as they were written, 1 not finished; 1 set aside" in capsys.readouterr().out


def test_a_damaged_run_that_no_study_asks_for_is_to_be_deleted(plan, run):
    other = shutil.copytree(run, run.with_name("0" * 16))
    (other / "metrics.json").unlink()
    assert verified() == {f"{other}/metrics.json: missing": f"rm -r {other}"}
    assert verified("mine", None) == {}  # not one of its runs


def test_prepared_data_that_were_altered_are_found(plan):
    (key,) = {arm.data_key for arm in plan.study("depth").arms.values()}
    content = layout.data(key).read_bytes()
    layout.data(key).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert verified("mine", "depth") == {
        f"{layout.data(key)}: damaged (its content does not match its fingerprint)": f"rm {layout.data(key)} && "
        f"ablations prepare --data {key} --extra my"
    }
    layout.data(key).write_bytes(content[:100])
    assert len(verified()) == 1


@pytest.mark.parametrize("table", ["job", "study"])
def test_a_table_that_says_something_else_than_the_store_is_found(plan, run, table):
    job = next(
        job for job in plan.jobs_of("depth") if run.name in layout.arm_table("mine", job.name).read_text()
    )
    path = (
        layout.arm_table("mine", job.name) if table == "job" else layout.study_table("mine", "depth", "runs")
    )
    mend = f"rm {path} && snakemake depth --cores all --config suite=mine extra=my"
    whole = path.read_text()
    lines = whole.splitlines(keepends=True)
    number = str(int(run.name[:4], 16) / 1000)
    first = next(line for line in lines if run.name in line)
    for text, why in {
        whole.replace(
            first, first.replace(f",{number},", f",{number}1,", 1)
        ): f"{number}1, in the store {number}",
        whole.replace(
            first, first.replace("finished", "diverged")
        ): "status is diverged, in the store finished",
        whole.replace(first, ""): f"it lacks run {run.name}, seed 0, which is in the store",
        whole + first.replace(run.name, "0" * 16): f"it has run {'0' * 16}, which is not in the store",
        "other,columns\n1,2\n": "damaged ('run')",
    }.items():
        path.write_text(text)
        ((what, command),) = verified("mine", None).items()
        assert what.startswith(f"{path}: ") and what.endswith(why) and command == mend
    path.write_text(whole)
    assert verified() == {}


def test_a_table_that_is_older_than_a_run_of_the_store_is_found(plan, run, capsys):
    """A run that is gone, with a table that still tells of it."""
    shutil.rmtree(run)
    faults = verified("mine", "depth")
    assert len(faults) == 2 and all(
        what.endswith(f"it has run {run.name}, which is not in the store") for what in faults
    )


def test_tables_without_their_data_are_not_checked(plan, capsys):
    for arm in plan.study("depth").arms.values():
        layout.data(arm.data_key).unlink(missing_ok=True)
    assert main(["verify", "--extra", "my"]) == 0
    assert (
        "0 of 0 tables of runs as the store has them; 3 not checked, without their data"
        in capsys.readouterr().out
    )


def test_a_suite_whose_file_is_broken_is_told(plan, capsys):
    write(Path("my/suites/mine.yaml"), "title: [")
    assert main(["verify", "--extra", "my"]) == 0
    assert "suite mine: its tables are not checked: my/suites/mine.yaml" in capsys.readouterr().out
    assert main(["verify", *MINE]) == 2


def test_an_empty_folder_has_no_faults(workspace, capsys):
    assert main(["verify"]) == 0
    assert "results/runs: 0 runs as they were written" in capsys.readouterr().out
    assert main(["verify", "--rerun", "1"]) == 2
    assert "no run can be trained again here" in capsys.readouterr().err
    assert main(["verify", "dept"]) == 2
    assert main(["verify", "--seed", "1"]) == 2
    assert "--seed draws the runs of --rerun; give both" in capsys.readouterr().err


@pytest.mark.parametrize("suite", Library().names("suites"))
def test_every_run_is_found_again_from_its_config(suite):
    plan = make_plan(Library(), suite)
    for job in plan.jobs.values():
        for seed in job.seeds[:1]:
            run = again.Run(job.arm, seed, "f")
            found = run_of(json.loads(json_bytes(run.config)))
            assert found == run and found.id == run.id


numbers = (
    st.none() | st.integers() | st.booleans() | st.floats(allow_nan=False) | st.text("abc 1.", min_size=1)
)


@examples(100)
@given(value=numbers, other=numbers)
def test_a_cell_is_its_value_to_the_last_digit(value, other):
    from ablations.store import table

    cell = next(iter(table([{"a": value, "b": 0}]).splitlines()[1:])).rpartition(",")[0]
    assert same(cell, value)
    assert same(cell, other) == (
        value == other and (type(value) is type(other) or bool not in (type(value), type(other)))
    )


# ------------------------------------------------------------------------------------------ trained again


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Results of the suite `tiny`, two runs."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write(Path("my/suites/tiny.yaml"), TINY.format(seeds=1))
        assert main(["train", "depth", "--suite", "tiny", "--extra", "my", "--device", "cpu"]) == 0
    return folder


@pytest.fixture
def copy(trained, workspace):
    """A copy of them; the folder of the first run."""
    shutil.copytree(trained, workspace, dirs_exist_ok=True)
    return min((workspace / "results" / "runs").iterdir())


TINIES = ("--suite", "tiny", "--extra", "my")


def test_runs_trained_again_come_to_the_same_bits(copy, capsys):
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert main(["verify", *TINIES, "--rerun", "5", "--seed", "3"]) == 0
    told = capsys.readouterr().out
    assert "Trained again are 2 of 2 runs, drawn by --seed 3" in told
    assert told.count("the same to the bit: history, metrics and weights") == 2
    assert told.endswith("Trained again: 2 the same to the bit\n")
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_without_a_seed_it_is_told_which_one_was_drawn(copy, capsys, monkeypatch):
    monkeypatch.setattr(again, "train_again", lambda stored, store: again.SAME)
    assert main(["verify", *TINIES, "--rerun", "1"]) == 0
    assert re.search(r"Trained again are 1 of 2 runs, drawn by --seed \d+\n", capsys.readouterr().out)


def test_a_run_that_comes_to_other_bits_is_a_fault_where_the_environment_is_the_same(copy, capsys):
    change(copy, "metrics.json", lambda metrics: {**metrics, "test_error": 12.5})
    assert main(["verify", *TINIES, "--rerun", "2"]) == 1
    told = capsys.readouterr().out
    assert "not the same; first in test_error: 12.5 and " in told
    assert "They should agree: the run was altered" in told
    assert "The weights differ by 0 at most, 0 % of their norm." in told
    assert "1 other, without a reason" in told and "1 the same to the bit" in told


def test_where_the_environment_is_another_it_is_said_and_how_far_they_are_apart(copy, capsys):
    store = Store(layout.RESULTS)
    weights = again.safetensors.torch.load(store.file(copy.name, WEIGHTS))
    moved = again.safetensors.torch.save({name: value * 1.01 for name, value in weights.items()})
    store.write(copy.name, {WEIGHTS: moved}, store.sums(copy.name))
    change(copy, "environment.json", lambda where: {**where, "torch": "1.0"})
    assert main(["verify", *TINIES, "--rerun", "2"]) == 0
    told = capsys.readouterr().out
    assert "first in SHA-256 of the weights" in told
    assert "not expected to agree: the environments differ (torch)" in told
    assert re.search(r"torch +1\.0 +" + re.escape(torch.__version__), told)
    assert re.search(r"The weights differ by [\d.]+ at most, 0\.99 % of their norm\.", told)


def test_a_run_is_trained_on_as_many_threads_as_it_was(copy, monkeypatch):
    change(copy, "environment.json", lambda where: {**where, "threads": 2})
    seen = []
    monkeypatch.setattr(again, "train_arm", lambda *_: seen.append(torch.get_num_threads()))
    monkeypatch.setattr(again, "outcome", lambda *_: Outcome({}, [], None, {}))
    store = Store(layout.RESULTS)
    for stored in again.choose(store, store.ids(), 2, 0):
        again.train_again(stored, store)
    torch.set_num_threads(1)
    assert sorted(seen) == [1, 2]


def test_runs_without_weights_are_compared_by_their_checksum(copy, capsys):
    assert main(["export", "--suite", "tiny", "--extra", "my"]) == 0
    shutil.rmtree("results/runs")
    assert main(["import", "tiny.tar.gz"]) == 0
    assert main(["verify", *TINIES, "--rerun", "2"]) == 0
    told = capsys.readouterr().out
    assert "2 runs as they were written (2 without weights)" in told and "2 the same to the bit" in told


def test_what_cannot_be_trained_here_is_not_chosen(copy, monkeypatch):
    store = Store(layout.RESULTS)
    first, second = store.ids()
    change(store.folder / first, "environment.json", lambda where: {**where, "device_type": "cuda"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [stored.run.id for stored in again.choose(store, [first, second], 5, 0)] == [second]
    change(store.folder / second, "config.json", lambda config: {**config, "engine": ENGINE_VERSION - 1})
    with pytest.raises(UserError, match="no run can be trained again here"):
        again.choose(store, [first, second], 5, 0)


def test_the_seed_decides_which(plan):
    store = Store(layout.RESULTS)
    chosen = [[each.run.id for each in again.choose(store, store.ids(), 2, seed)] for seed in range(20)]
    assert chosen[3] == [each.run.id for each in again.choose(store, reversed(store.ids()), 2, 3)]
    assert {run for runs in chosen for run in runs} == set(store.ids())


# ------------------------------------------------------------------------------------------ where two trainings differ


def outcome(**changes):
    history = [
        {"epoch": "1", "train_loss": "0.5", "seconds": "1.0"},
        {"epoch": "2", "train_loss": "0.25", "seconds": "2.0"},
    ]
    return Outcome(
        **{
            "metrics": {"test_error": 1.5, "seconds": 2.0},
            "history": history,
            "weights": "w",
            "environment": {},
            **changes,
        }
    )


def test_the_first_difference_by_hand():
    a = outcome()
    assert first_difference(a, outcome()) is None
    times = [{**row, "seconds": "9.0"} for row in a.history]
    assert first_difference(a, outcome(history=times, metrics={"test_error": 1.5, "seconds": 9.0})) is None
    later = [a.history[0], {**a.history[1], "train_loss": "0.26"}]
    differing = outcome(history=later, metrics={"test_error": 2.0}, weights="v")
    assert str(first_difference(a, differing)) == "train_loss of epoch 2: 0.25 and 0.26"
    assert str(first_difference(a, outcome(history=a.history[:1]))) == "epochs in the history: 2 and 1"
    assert (
        str(first_difference(a, outcome(metrics={"test_error": 2.0}, weights="v")))
        == "test_error: 1.5 and 2.0"
    )
    assert str(first_difference(a, outcome(weights="v"))) == "SHA-256 of the weights: w and v"
