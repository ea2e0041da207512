"""What is promised of a search: every place of its budget is spent once, whatever happens to its workers; one worker
repeats it to the bit; what it has found are runs like any other."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from itertools import chain

import optuna
import pandas as pd
import pytest
import torch
from conftest import ROOT, small_depth, snakemake, write
from optuna.trial import TrialState

from ablations import data, layout
from ablations.cli import main
from ablations.collect import read_table
from ablations.config import Library, read_yaml
from ablations.cost import count
from ablations.data import read_header
from ablations.errors import UserError
from ablations.plan import Run, make_plan
from ablations.search import storage as storages
from ablations.search import trials as searching
from ablations.search import worker as working
from ablations.search.address import ADDRESS, without_password
from ablations.search.outcome import write_outcome
from ablations.search.pruning import EpochsThenSeeds
from ablations.search.storage import JournalLock, Lock, alive, is_gone, open_storage
from ablations.search.training import Runs
from ablations.search.trials import PLACE, begin, is_spent, load, places, settings_of
from ablations.search.worker import Worker
from ablations.store import Store
from ablations.training import job
from ablations.training.checkpoint import Checkpoints
from ablations.training.evaluation import Splits

TAKEN = (TrialState.COMPLETE, TrialState.PRUNED)
RATE = "{learning_rate: {low: 0.005, high: 0.5, log: true}}"
SPACE = "{learning_rate: {low: 0.005, high: 0.5, log: true}, batch_size: [32, 64]}"
SUITE = """
title: tiny
data: digits-small
seeds: 3
recipe: {{epochs: {epochs}, batch_size: 64, learning_rate: 0.05, crop_padding: 1}}
studies:
  depth:
    levels: {{depth: {depths}, shortcut: [identity]}}
"""
DEPTH = small_depth()
OWN = ("--suite", "tiny", "--extra", "my")


@pytest.fixture(autouse=True)
def no_worker_waits_for_ever():
    """Ends a test whose worker waits for a trial that no one does."""

    def end(*_):
        raise AssertionError("a worker waits for ever")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(1800)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def definitions(folder, search, epochs=2, depths="[8]"):
    """A suite with a study of a ResNet or two, and how it is searched, in YAML."""
    write(folder / "my" / "suites" / "tiny.yaml", SUITE.format(epochs=epochs, depths=depths))
    write(folder / "my" / "studies" / "depth.yaml", f"{DEPTH}search: {search}\n")


def planned(folder, search=None, **more):
    """The study as planned, its definitions written first."""
    if search is not None:
        definitions(folder, search, **more)
    return make_plan(Library(folder / "my"), "tiny").study("depth")


def search(folder, *part):
    """`ablations search depth`, in this process."""
    with contextlib.chdir(folder):
        assert main(["search", "depth", *OWN, *part]) == 0


def table(folder):
    return read_table(folder / layout.trials("tiny", "depth"))


def timeless(folder):
    """The table of trials without what may differ between two searches with the same seed."""
    return table(folder).drop(columns=["seconds", "started", "worker"])


def stored(folder):
    """Runs in the store with the time of their metrics."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("results/runs/*/metrics.json")}


class Pretended:
    """Trains nothing: the error falls from epoch to epoch to the distance of the learning rate from 0.1. Writes down
    which runs have begun and ended, each a line."""

    def __init__(self, log=None, pause=0.0, worst=50.0):
        self.log, self.pause, self.worst = log, pause, worst

    def id_of(self, arm, seed):
        return Run(arm, seed, "none").id

    def error_of(self, arm, seed, after_epoch):
        run = self.id_of(arm, seed)
        self.write("begun", run)
        final = abs(arm.recipe.learning_rate - 0.1) * 100 + seed
        for epoch in range(1, arm.recipe.epochs + 1):
            if self.pause:
                time.sleep(self.pause)
            after_epoch(epoch, final + self.worst / epoch)
        self.write("ended", run)
        return final

    def macs_of(self, arm):
        return 1000

    def write(self, *words):
        if self.log:
            with self.log.open("a") as file:
                file.write(" ".join(words) + "\n")


def in_a_process(work):
    """Start `work` in a copy of this process. Its process id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def ended(child):
    """The exit status of a process, once it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def begun(folder, **more):
    """A search that has begun, with its storage."""
    study = planned(folder, **more)
    storage = open_storage("tiny")
    begin("tiny", study, storage)
    return study, storage


def worker(study, training):
    """What a worker does."""
    with alive("tiny") as name:
        Worker("tiny", study, open_storage("tiny"), name, training).work()


def studies(study, storage=None):
    """The Optuna study of each arm."""
    storage = storage or open_storage("tiny")
    return [load("tiny", study, key, storage) for key in study.arms]


def check_every_place_is_spent_once(study):
    """Each place of the budget has one trial that was finished or pruned; nothing is running or waiting."""
    for each in studies(study):
        states = [trial.state for trial in each.get_trials(deepcopy=False)]
        assert TrialState.RUNNING not in states and TrialState.WAITING not in states
        found = places(each, study.search)
        assert sorted(found) == list(range(study.search.trials))
        for trials in found.values():
            assert [trial.state in TAKEN for trial in trials].count(True) == 1, trials
            assert is_spent(trials)


# ------------------------------------------------------------------------------------------ what is found


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search by one worker, with real training."""
    folder = tmp_path_factory.mktemp("searched")
    definitions(folder, f"{{trials: 5, seeds: 2, space: {SPACE}}}", depths="[8, 14]")
    search(folder)
    return folder


def test_every_arm_has_the_same_budget_and_its_own_settings_first(searched):
    trials = table(searched)
    assert trials.groupby("depth")["place"].apply(list).to_dict() == {8: [0, 1, 2, 3, 4], 14: [0, 1, 2, 3, 4]}
    assert set(trials["state"]) <= {"finished", "pruned"} and (trials["state"] == "finished").any()
    first = trials[trials["place"] == 0]
    assert (first["recipe.learning_rate"] == 0.05).all() and (first["recipe.batch_size"] == 64).all()
    assert trials["recipe.learning_rate"].between(0.005, 0.5).all()
    assert set(trials["recipe.batch_size"]) <= {32, 64}
    assert (
        trials["worker"].nunique() == 1
        and trials["started"].str.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$").all()
    )


def test_what_counts_is_the_mean_validation_error_over_the_seeds(searched):
    finished = table(searched).query("state == 'finished'")
    for row in finished.to_dict("records"):
        files = [searched / "results" / "runs" / run / "metrics.json" for run in row["runs"].split()]
        metrics = [json.loads(file.read_text()) for file in files]
        assert len(metrics) == 2
        assert row["validation_error"] == sum(each["validation_error"] for each in metrics) / 2


def test_the_best_settings_are_those_of_the_finished_trial_with_the_lowest_error(searched):
    found = read_yaml(searched / layout.best("tiny", "depth"))
    assert (found["study"], found["suite"]) == ("depth", "tiny")
    trials = table(searched).query("state == 'finished'")
    for arm in found["arms"]:
        of_arm = trials[trials["depth"] == int(arm["levels"]["depth"])]
        best = of_arm.loc[of_arm["validation_error"].idxmin()]
        assert arm["trial"] == best["trial"] and arm["validation_error"] == best["validation_error"]
        assert arm["settings"] == {
            "recipe.learning_rate": best["recipe.learning_rate"],
            "recipe.batch_size": best["recipe.batch_size"],
        }


def test_tuned_arms_are_ordinary_runs_and_those_of_the_best_trials_are_not_trained_again(searched):
    before, best = stored(searched), read_yaml(searched / layout.best("tiny", "depth"))
    with contextlib.chdir(searched):
        plan = make_plan(Library("my"), "tiny")
        tuned = plan.study("depth-tuned")
        trials = table(searched).set_index(["depth", "trial"])["runs"]
        ids = []
        for arm, found in zip(tuned.arms.values(), best["arms"], strict=True):
            runs = [
                Run(arm, seed, read_header(layout.data(arm.data_key)).fingerprint).id for seed in tuned.seeds
            ]
            assert runs[:2] == trials[int(found["levels"]["depth"]), found["trial"]].split()
            ids += runs
        assert set(before) >= set(ids[:2] + ids[3:5])
        assert main(["train", "depth-tuned", *OWN]) == 0
    after = stored(searched)
    assert before.items() <= after.items() and set(ids) <= set(after)
    assert set(after) - set(before) <= {ids[2], ids[5]}


def test_every_trial_is_repeated_as_runs_by_its_number_to_the_bit(searched, tmp_path, capsys):
    shutil.copytree(searched / "my", tmp_path / "my")
    shutil.copytree(searched / "results", tmp_path / "results", ignore=shutil.ignore_patterns("runs"))
    before = stored(searched)
    trials = table(searched)
    assert {"finished", "pruned"} <= set(trials["state"]) and trials["runs"].notna().all()
    some = pd.concat([trials[trials["state"] == state].head(2) for state in ("finished", "pruned")])
    for row in some.to_dict("records"):
        arm = (f"depth={row['depth']}", "shortcut=identity")
        with contextlib.chdir(tmp_path):
            assert main(["train", "depth", *arm, "--trial", str(row["trial"]), *OWN]) == 0
        first, *_ = ids = row["runs"].split()
        assert set(ids) <= set(stored(tmp_path))
        for run in set(ids) & set(before):
            weights, metrics, history = (
                [(folder / "results" / "runs" / run / file).read_bytes() for folder in (searched, tmp_path)]
                for file in ("weights.safetensors", "metrics.json", "history.csv")
            )
            assert weights[0] == weights[1]
            error = [json.loads(text)["validation_error"] for text in metrics]
            assert error[0] == error[1]
        assert row["state"] == "pruned" or set(ids) <= set(before)
        # Of a run that was stopped, what its epochs were worth is in the journal.
        history = read_table(tmp_path / "results" / "runs" / first / "history.csv")["validation_error"]
        with contextlib.chdir(searched):
            seen = studies(planned(searched))[[8, 14].index(row["depth"])].get_trials()[row["trial"]]
        seen = seen.intermediate_values
        assert [seen[epoch] for epoch in sorted(seen) if epoch <= 2] == list(history)[: min(2, len(seen))]
    with contextlib.chdir(tmp_path):
        capsys.readouterr()
        assert main(["train", "depth", "depth=8", "--trial", "5", *OWN]) == 2
        told = "no trial 5 of depth identity 8 has begun; known: 0, 1, 2, 3 and 4\n"
        assert capsys.readouterr().err == f"ablations: {told}"
        assert main(["train", "depth-tuned", "--trial", "0", *OWN]) == 2
        assert "depth-tuned is the outcome of a search" in capsys.readouterr().err


def test_a_finished_search_is_left_as_it_is(searched):
    runs, trials = stored(searched), (searched / layout.trials("tiny", "depth")).read_bytes()
    search(searched)
    assert stored(searched) == runs
    assert (searched / layout.trials("tiny", "depth")).read_bytes() == trials


def test_one_worker_with_the_same_seed_repeats_every_trial_to_the_bit(searched, tmp_path):
    for folder in (tmp_path / "fresh", tmp_path / "has runs"):
        definitions(folder, f"{{trials: 5, seeds: 2, space: {SPACE}}}", depths="[8, 14]")
    with contextlib.chdir(tmp_path / "has runs"):  # of one arm, some of which its trials will be given
        assert main(["train", "depth", "depth=8", "--seeds", "0", *OWN]) == 0
    expected = timeless(searched).to_csv()
    for folder in (tmp_path / "fresh", tmp_path / "has runs"):
        search(folder)
        assert timeless(folder).to_csv() == expected
    assert (tmp_path / "fresh" / layout.best("tiny", "depth")).read_bytes() == (
        searched / layout.best("tiny", "depth")
    ).read_bytes()
    # With all runs there already nothing is trained, and pruned trials are pruned at the same epoch.
    again = tmp_path / "has all"
    definitions(again, f"{{trials: 5, seeds: 2, space: {SPACE}}}", depths="[8, 14]")
    (again / "results").mkdir()
    (again / "results" / "runs").symlink_to(tmp_path / "fresh" / "results" / "runs")
    before = stored(tmp_path / "fresh")
    search(again)
    assert timeless(again).to_csv() == expected and stored(tmp_path / "fresh") == before


def test_another_seed_is_another_search(searched, tmp_path):
    definitions(tmp_path, f"{{trials: 5, seeds: 2, seed: 1, space: {SPACE}}}", depths="[8, 14]")
    search(tmp_path)
    column = "recipe.learning_rate"
    ours, others = (timeless(folder).query("place > 0")[column] for folder in (tmp_path, searched))
    assert not set(ours) & set(others)


# ------------------------------------------------------------------------------------------ the budget


def test_raising_the_budget_adds_trials_and_lowering_it_leaves_them_out(workspace):
    study, storage = begun(workspace, search=f"{{trials: 3, seeds: 2, space: {SPACE}}}")
    log = workspace / "log"
    worker(study, Pretended(log))
    write_outcome("tiny", study, open_storage("tiny"))
    before, runs = timeless(workspace), log.read_text().splitlines()
    assert len(before) == 3

    study, storage = begun(workspace, search=f"{{trials: 5, seeds: 2, space: {SPACE}}}")
    with pytest.raises(
        UserError, match="2 of the 5 trials of identity 8 are not done yet; go on with: snakemake"
    ):
        write_outcome("tiny", study, storage)
    worker(study, Pretended(log))
    write_outcome("tiny", study, open_storage("tiny"))
    after = timeless(workspace)
    assert after[:3].to_csv() == before.to_csv() and len(after) == 5
    check_every_place_is_spent_once(study)
    trained = log.read_text().splitlines()
    assert trained[: len(runs)] == runs and len(trained) > len(runs)
    assert set(trained[len(runs) :]).isdisjoint(runs)  # those of new trials, and none of the old ones again

    study = planned(workspace, f"{{trials: 2, seeds: 2, space: {SPACE}}}")
    write_outcome("tiny", study, open_storage("tiny"))
    assert timeless(workspace).to_csv() == before[:2].to_csv()


@pytest.mark.parametrize("seeds", [1, 5])
def test_a_budget_raised_step_by_step_gives_the_trials_of_a_larger_one_at_once(tmp_path, seeds):
    tables = []
    for name, budgets in (("step by step", [2, 7, 20]), ("at once", [20])):
        (tmp_path / name).mkdir()
        with contextlib.chdir(tmp_path / name):
            for trials in budgets:
                text = f"{{trials: {trials}, seeds: {seeds}, space: {SPACE}}}"
                study, _ = begun(tmp_path / name, search=text, epochs=9)
                worker(study, Pretended())
            write_outcome("tiny", study, open_storage("tiny"))
            tables.append(timeless(tmp_path / name))
    assert tables[0].to_csv() == tables[1].to_csv()
    assert len(tables[0]) == 20 and tables[0]["recipe.learning_rate"].nunique() == 20
    assert {"finished", "pruned"} == set(tables[0]["state"])  # the pruner agrees too


def test_places_beyond_a_budget_that_was_lowered_are_not_done(workspace):
    begun(workspace, search=f"{{trials: 9, seeds: 1, space: {RATE}}}")
    study, _ = begun(workspace, search=f"{{trials: 3, seeds: 1, space: {RATE}}}")
    worker(study, Pretended(workspace / "log"))
    assert (workspace / "log").read_text().count("begun") == 3
    study, _ = begun(workspace, search=f"{{trials: 9, seeds: 1, space: {RATE}}}")
    worker(study, Pretended(workspace / "log"))
    assert (workspace / "log").read_text().count("begun") == 9
    check_every_place_is_spent_once(study)


def test_two_searches_that_begin_at_once_share_one_budget(workspace):
    study = planned(workspace, f"{{trials: 12, seeds: 1, space: {RATE}}}", depths="[8, 14]")

    def both():
        begin("tiny", study, open_storage("tiny"))
        worker(study, Pretended(workspace / "log", pause=0.002))

    children = [in_a_process(both) for _ in range(4)]
    assert [ended(child) for child in children] == [0, 0, 0, 0]
    check_every_place_is_spent_once(study)
    assert (workspace / "log").read_text().count("begun") == 24


def test_a_changed_space_is_another_search(workspace):
    study, _ = begun(workspace, search=f"{{trials: 3, seeds: 1, space: {RATE}}}")
    worker(study, Pretended())
    study = planned(workspace, "{trials: 3, seeds: 1, space: {learning_rate: {low: 0.2, high: 0.4}}}")
    with pytest.raises(
        UserError, match="has not begun, or is another since the study was changed; begin with"
    ):
        worker(study, Pretended())
    begin("tiny", study, open_storage("tiny"))
    worker(study, Pretended())
    write_outcome("tiny", study, open_storage("tiny"))
    assert len(table(workspace)) == 3 and table(workspace)["recipe.learning_rate"].between(0.2, 0.4).all()


# ------------------------------------------------------------------------------------------ workers


def test_workers_share_the_trials_and_draw_different_settings(workspace):
    study, _ = begun(workspace, search=f"{{trials: 16, seeds: 2, space: {RATE}}}", depths="[8, 14]")
    log = workspace / "log"
    children = [in_a_process(lambda: worker(study, Pretended(log, pause=0.005))) for _ in range(4)]
    assert [ended(child) for child in children] == [0, 0, 0, 0]
    check_every_place_is_spent_once(study)
    runs = Counter(line.split()[1] for line in log.read_text().splitlines() if line.startswith("begun"))
    assert set(runs.values()) == {1}  # no run was trained twice, hence no two trials had the same settings
    write_outcome("tiny", study, open_storage("tiny"))
    assert table(workspace)["worker"].nunique() > 1
    for each in studies(study):
        assert len(each.get_trials()) == 16  # no surplus one either


def tear(journal):
    """Leave half a line behind, as a process does that is killed while it writes."""
    with journal.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b'{"op_code":6,"worker_id":"gone-1","trial_id":0,"sta')


def test_marks_of_trials_that_are_gone_are_removed(workspace, capsys):
    begun(workspace, search=f"{{trials: 3, seeds: 1, space: {RATE}}}", depths="[8]")
    folder = layout.best("tiny", "depth").parent / "abc"
    for lost in (False, True):
        if lost:
            layout.journal("tiny").unlink()
        marks = [write(folder / name, "") for name in ("begun", "ended-0")]
        assert main(["search", "depth", *OWN, "--part", "end"]) == 2
        assert ("has not begun" if lost else "3 of the 3 trials") in capsys.readouterr().err
        assert not any(mark.exists() for mark in marks)


def test_workers_killed_at_random_points_lose_no_trial_and_run_none_twice(workspace):
    study, _ = begun(workspace, search=f"{{trials: 60, seeds: 2, space: {RATE}}}", depths="[8, 14]")
    chance, kills, torn = random.Random(0), 0, 0
    journal = layout.journal("tiny")
    # Left behind by Optuna's own lock; ours does not know it.
    journal.with_name("trials.journal.lock").symlink_to(journal)

    def start():
        return in_a_process(lambda: worker(study, Pretended(workspace / "log", pause=0.03)))

    at_work = [start() for _ in range(3)]
    while kills < 100:
        time.sleep(chance.uniform(0.0, 0.05))
        victim = at_work.pop(chance.randrange(3))
        os.kill(victim, signal.SIGKILL)
        if ended(victim) == 0:
            break  # the budget is spent
        kills += 1
        if chance.random() < 0.2:
            tear(journal)
            torn += 1
        at_work.append(start())
    assert not any(ended(child) for child in at_work)
    assert kills >= 40 and torn >= 5, (kills, torn)
    worker(study, Pretended(workspace / "log"))
    check_every_place_is_spent_once(study)
    failed = [
        trial for each in studies(study) for trial in each.get_trials() if trial.state == TrialState.FAIL
    ]
    assert len(failed) >= 10  # kills did hit trials
    for each in studies(study):
        for trials in places(each, study.search).values():
            given = [settings_of(trial) for trial in trials]
            assert all(before.items() <= given[-1].items() for before in given), (
                "retried with the same settings"
            )


def waits_in_its_first_run(study, folder):
    """A worker that has begun its first run and does not end it. Its process id."""

    class Waiting(Pretended):
        def error_of(self, arm, seed, after_epoch):
            after_epoch(1, 50.0)
            write(folder / "reached", "")
            signal.pause()

    child = in_a_process(lambda: worker(study, Waiting()))
    while not (folder / "reached").exists():
        time.sleep(0.01)
    return child


def test_what_another_worker_is_doing_is_waited_for_and_done_once_it_is_killed(workspace, monkeypatch):
    study, _ = begun(workspace, search=f"{{trials: 3, seeds: 1, space: {RATE}}}")
    slow = waits_in_its_first_run(study, workspace)
    (first,) = [trial for trial in studies(study)[0].get_trials() if trial.state == TrialState.RUNNING]
    looks = []

    def pause(seconds):
        states = [trial.state for trial in studies(study)[0].get_trials()]
        looks.append(states)
        assert states.count(TrialState.RUNNING) == 1 and states.count(TrialState.WAITING) == 0
        if len(looks) == 3:
            os.kill(slow, signal.SIGKILL)
            assert ended(slow) == -signal.SIGKILL

    monkeypatch.setattr(working.time, "sleep", pause)
    worker(study, Pretended(workspace / "log"))
    assert len(looks) == 3  # it did the other two and waited, and then did the third
    check_every_place_is_spent_once(study)
    retried = places(studies(study)[0], study.search)[0]
    assert retried[0].state == TrialState.FAIL and retried[1].state in TAKEN
    assert retried[1].params == first.params and first.params


def test_a_trial_that_was_taken_but_not_signed_is_failed_over(workspace):
    study, _ = begun(workspace, search=f"{{trials: 2, seeds: 1, space: {RATE}}}")
    taken = studies(study)[0].ask()  # and killed here
    assert studies(study)[0].get_trials()[taken.number].state == TrialState.RUNNING
    worker(study, Pretended())
    check_every_place_is_spent_once(study)


def test_a_worker_that_ends_is_gone_and_one_that_is_alive_is_not(workspace):
    with alive("tiny") as name:
        assert not is_gone("tiny", name)
        child = in_a_process(lambda: write(workspace / "told", str(is_gone("tiny", name))))
        assert ended(child) == 0 and (workspace / "told").read_text() == "False"
    assert is_gone("tiny", name)
    assert not list((layout.journal("tiny").parent / "workers").iterdir())


def test_a_lock_is_free_once_its_holder_is_killed(workspace):
    def hold():
        lock = Lock(workspace / "lock")
        lock.acquire()
        write(workspace / "held", "")
        signal.pause()

    child = in_a_process(hold)
    while not (workspace / "held").exists():
        time.sleep(0.01)
    with (workspace / "lock").open("ab") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.kill(child, signal.SIGKILL)
    ended(child)
    assert Lock(workspace / "lock").acquire()


@pytest.mark.parametrize("left", ["", '{"whole":1}\n', '{"whole":1}\n{"hal', '{"hal'])
def test_half_a_line_is_cut_off_a_journal_before_the_next_is_written(tmp_path, left):
    path = write(tmp_path / "journal", left)
    lock = JournalLock(path)
    lock.acquire()
    with path.open("a") as file:
        file.write('{"next":2}\n')
    lock.release()
    whole = left[: left.rfind("\n") + 1]
    assert path.read_text() == whole + '{"next":2}\n'


def test_a_journal_that_is_damaged_is_said(workspace):
    begun(workspace, search=f"{{trials: 2, seeds: 1, space: {RATE}}}")
    path = layout.journal("tiny")
    path.write_bytes(b"not ours\n" + path.read_bytes())
    with pytest.raises(
        UserError, match=r"trials.journal: damaged \(.*\); move it away, and the search begins anew"
    ):
        open_storage("tiny")


def lacking_memory(monkeypatch, lacks):
    """Training runs out of memory in the runs, by their batch size and how often one of it has begun, that `lacks`
    tells."""
    course, begun = job.course, Counter()

    def little_memory(run, *rest):
        size = run.arm.recipe.batch_size
        begun[size] += 1
        if lacks(size, begun[size]):
            raise torch.OutOfMemoryError("out of memory. Tried to allocate 2 GiB")
        return course(run, *rest)

    monkeypatch.setattr(job, "course", little_memory)


def test_settings_that_cannot_be_trained_spend_their_place_and_say_why(workspace, monkeypatch):
    definitions(workspace, "{trials: 9, seeds: 1, space: {batch_size: [64, 32, 257], flip: [true, false]}}")
    lacking_memory(monkeypatch, lambda size, _: size == 32)
    search(workspace)
    trials = table(workspace)
    reasons = trials.set_index("recipe.batch_size")["reason"]
    assert {64, 32, 257} == set(reasons.index)
    assert reasons[[64]].isna().all() and reasons[[32]].str.contains("out of memory").all()
    assert reasons[[257]].str.contains("batch_size 257 is more than the 256 training images").all()
    # Memory that did not suffice is tried once more, what can never be trained is not.
    tries = trials.groupby("place")["recipe.batch_size"].apply(list)
    assert list(tries.index) == list(range(9))
    assert all(sizes == [sizes[0]] * (2 if sizes[0] == 32 else 1) for sizes in tries)
    unfit = trials["recipe.batch_size"] != 64
    assert (trials["state"][unfit] == "failed").all() and trials["validation_error"][unfit].isna().all()
    assert read_yaml(layout.best("tiny", "depth"))["arms"][0]["settings"]["recipe.batch_size"] == 64
    before = stored(workspace)
    assert {path.name for path in (workspace / "results" / "runs").iterdir()} == set(
        before
    )  # no empty folder
    search(workspace)
    assert stored(workspace) == before and len(table(workspace)) == len(trials)


def test_a_place_whose_memory_did_not_suffice_for_once_is_not_spent_on_that(workspace, monkeypatch):
    definitions(workspace, "{trials: 3, seeds: 1, space: {batch_size: [64, 32]}}")
    lacking_memory(monkeypatch, lambda size, times: times == 1)
    search(workspace)
    trials = table(workspace)
    failed, others = trials[trials["state"] == "failed"], trials[trials["state"] != "failed"]
    assert sorted(failed["recipe.batch_size"]) == sorted(set(trials["recipe.batch_size"]))
    assert failed["reason"].str.contains("out of memory").all() and others["reason"].isna().all()
    assert sorted(others["place"]) == [0, 1, 2] and set(failed["place"]) <= {0, 1, 2}
    for row in failed.to_dict("records"):
        (again,) = others[others["place"] == row["place"]].to_dict("records")
        assert again["recipe.batch_size"] == row["recipe.batch_size"] and again["trial"] > row["trial"]


def test_an_arm_none_of_whose_trials_can_be_trained_keeps_its_own_settings(workspace):
    definitions(workspace, "{trials: 2, seeds: 1, space: {batch_size: [300, 400]}}")
    search(workspace)
    assert read_yaml(layout.best("tiny", "depth"))["arms"] == [
        {"levels": {"shortcut": "identity", "depth": "8"}, "settings": {}}
    ]
    plan = make_plan(Library("my"), "tiny")
    assert [arm.id for arm in plan.study("depth-tuned").arms.values()] == [
        arm.id for arm in plan.study("depth").arms.values()
    ]


def test_a_space_that_an_arm_cannot_have_is_said_before_anything_is_trained(workspace, capsys):
    definitions(workspace, "{trials: 2, space: {cardinality: [2, 4]}}")
    assert main(["search", "depth", *OWN]) == 2
    told = capsys.readouterr().err
    assert "`inner` and `cardinality` belong to the bottleneck block" in told and told.count("\n") == 1
    assert not (workspace / "results" / "runs").exists()


def test_two_workers_with_the_same_settings_train_a_run_once(workspace):
    study = planned(workspace, f"{{trials: 2, space: {RATE}}}", epochs=6)
    assert main(["prepare", *OWN]) == 0
    (arm,) = study.arms.values()
    splits = {arm.data_key: Splits.of(data.read(layout.data(arm.data_key)), torch.device("cpu"))}

    def train(number):
        def counted(run, *rest):
            write(workspace / f"trained-{number}", "")
            return course(run, *rest)

        course, job.course = job.course, counted
        found = Runs(splits, Store(layout.RESULTS)).error_of(arm, 0, lambda epoch, error: None)
        write(workspace / f"found-{number}", repr(found))

    children = [in_a_process(lambda number=number: train(number)) for number in range(4)]
    assert [ended(child) for child in children] == [0, 0, 0, 0]
    assert len(list(workspace.glob("trained-*"))) == 1
    assert len({path.read_text() for path in workspace.glob("found-*")}) == 1


def test_a_pruned_run_leaves_nothing_and_is_trained_whole_when_it_is_needed(workspace):
    study = planned(workspace, f"{{trials: 2, space: {RATE}}}", epochs=4)
    assert main(["prepare", *OWN]) == 0
    (arm,) = study.arms.values()
    splits = {arm.data_key: Splits.of(data.read(layout.data(arm.data_key)), torch.device("cpu"))}
    runs, seen = Runs(splits, Store(layout.RESULTS)), []

    def stop(epoch, error):
        seen.append((epoch, error))
        if epoch == 2:
            raise optuna.TrialPruned

    with pytest.raises(optuna.TrialPruned):
        runs.error_of(arm, 0, stop)
    assert len(seen) == 2 and not list((workspace / "results" / "runs").iterdir())
    whole = []
    for _ in range(2):  # trained, and then read from the store
        error = runs.error_of(arm, 0, lambda *row: whole.append(row))
    assert whole[:4] == whole[4:] and whole[:2] == seen and whole[3] == (4, error)


def test_a_run_that_goes_on_after_a_kill_tells_the_pruners_all_of_its_epochs(workspace, monkeypatch):
    study = planned(workspace, f"{{trials: 2, space: {RATE}}}", epochs=4)
    assert main(["prepare", *OWN]) == 0
    (arm,) = study.arms.values()
    splits = {arm.data_key: Splits.of(data.read(layout.data(arm.data_key)), torch.device("cpu"))}
    monkeypatch.setattr(job, "Checkpoints", lambda folder: Checkpoints(folder, 0.0))
    expected, before, after = [], [], []
    Runs(splits, Store(workspace / "undisturbed")).error_of(arm, 0, lambda *row: expected.append(row))

    class Killed(Exception):
        pass

    def killed(epoch, error):
        before.append((epoch, error))
        if epoch == 3:
            raise Killed

    runs = Runs(splits, Store(layout.RESULTS))
    with pytest.raises(Killed):
        runs.error_of(arm, 0, killed)
    runs.error_of(arm, 0, lambda *row: after.append(row))
    assert before == expected[:3] and after == expected


# ------------------------------------------------------------------------------------------ real workers, killed


def test_real_workers_killed_again_and_again_end_with_the_whole_budget(tmp_path):
    definitions(tmp_path, f"{{trials: 8, seeds: 2, space: {SPACE}}}", epochs=12)
    with contextlib.chdir(tmp_path):
        assert main(["prepare", *OWN]) == 0
    search(tmp_path, "--part", "begin")
    chance, kills = random.Random(1), 0
    with contextlib.chdir(tmp_path):

        def start():
            return in_a_process(lambda: main(["search", "depth", *OWN, "--part", "work"]) == 0 or os._exit(1))

        at_work = [start(), start()]
        while kills < 30:
            time.sleep(chance.uniform(0.1, 0.5))
            victim = at_work.pop(0)
            os.kill(victim, signal.SIGKILL)
            if ended(victim) == 0:
                break
            kills += 1
            at_work.append(start())
        assert not any(ended(child) for child in at_work)
        assert kills >= 5
        study = planned(tmp_path)
        check_every_place_is_spent_once(study)
        assert main(["search", "depth", *OWN, "--part", "end"]) == 0
        trials, store = table(tmp_path), stored(tmp_path)
        finished = trials[trials["state"] == "finished"]
        assert set(chain(*finished["runs"].str.split())) <= set(store)
        assert (trials[trials["state"].isin(["finished", "pruned"])].groupby("place").size() == 1).all()
        assert not list(tmp_path.glob("results/runs/*/checkpoint*")), "a killed run went on and was finished"


def command(*words):
    return [sys.executable, "-m", "ablations", "search", "depth", *OWN, *words]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_is_told_to_end_or_killed_leaves_its_trial_to_the_next(tmp_path, number):
    definitions(tmp_path, f"{{trials: 2, seeds: 1, space: {RATE}}}", epochs=80)
    with subprocess.Popen(
        command(), cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        for line in process.stdout:
            if re.search(r"epoch +\d+/80", line):
                process.send_signal(number)
                break
        process.stdout.read()
        assert process.wait() == (143 if number == signal.SIGTERM else -number)
    search(tmp_path)
    trials = table(tmp_path)
    assert list(trials["place"]) == [0, 0, 1]
    interrupted, retried, _ = trials.to_dict("records")
    assert interrupted["state"] == "failed" and retried["state"] in ("finished", "pruned")
    assert interrupted["recipe.learning_rate"] == retried["recipe.learning_rate"]
    assert interrupted["worker"] != retried["worker"]


# ------------------------------------------------------------------------------------------ pruning


class Given(Pretended):
    """Errors of runs as given, by learning rate: of the epochs of the first seed, and of each seed in the end. Keeps
    which seeds were trained for how many epochs."""

    def __init__(self, epochs, seeds):
        self.epochs, self.seeds, self.trained = epochs, seeds, {}

    def error_of(self, arm, seed, after_epoch):
        rate = arm.recipe.learning_rate
        for epoch, error in enumerate(self.epochs[rate], start=1):
            self.trained[rate, seed] = epoch
            after_epoch(epoch, error)
        return self.seeds[rate][seed]


def choices(rates):
    return f"{{learning_rate: {list(rates)}}}"


def one_after_another(study, storage, training, rates):
    """Do a trial of each learning rate in this order."""
    (key,) = study.arms
    optuna_study = load("tiny", study, key, storage)
    for place, rate in enumerate(rates):
        optuna_study.enqueue_trial({"recipe.learning_rate": rate}, user_attrs={PLACE: place})
    with alive("tiny") as name:
        Worker("tiny", study, storage, name, training).work()
    return {trial.params["recipe.learning_rate"]: trial for trial in optuna_study.get_trials()}


def with_given_trials(folder, monkeypatch, rates, training, seeds, epochs):
    definition = f"{{trials: {len(rates)}, seeds: {seeds}, space: {choices(rates)}}}"
    study, storage = planned(folder, definition, epochs=epochs), open_storage("tiny")
    enqueue = optuna.Study.enqueue_trial
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "enqueue_trial", lambda *_, **__: None)
        begin("tiny", study, storage)
    assert optuna.Study.enqueue_trial is enqueue
    return one_after_another(study, storage, training, rates)


def test_hyperband_stops_the_first_run_of_a_bad_trial_early(workspace, monkeypatch):
    rates = [round(0.01 * (1 + n), 2) for n in range(12)]
    training = Given(
        {rate: [90 * rate * 10] * 9 for rate in rates}, {rate: [rate * 100] * 2 for rate in rates}
    )
    trials = with_given_trials(workspace, monkeypatch, rates, training, seeds=2, epochs=9)
    assert trials[0.01].state == TrialState.COMPLETE and training.trained[0.01, 1] == 9
    pruned = [rate for rate, trial in trials.items() if trial.state == TrialState.PRUNED]
    assert len(pruned) >= 6
    for rate in pruned:  # at the end of one of Hyperband's rungs, before the second seed
        assert training.trained[rate, 0] in (1, 3, 9) and (rate, 1) not in training.trained


def test_a_wilcoxon_test_over_seeds_stops_a_trial_that_is_worse_on_each(workspace, monkeypatch):
    best, worse, better, mixed = 0.1, 0.2, 0.3, 0.4
    seeds = {
        best: [10, 11, 12, 13, 14, 15, 16, 17],
        worse: [20, 22, 24, 26, 28, 30, 32, 34],
        better: [9, 9, 9, 9, 9, 9, 9, 9],
        mixed: [1, 16, 2, 15, 3, 14, 4, 13],
    }
    training = Given({rate: [50.0] for rate in seeds}, seeds)
    trials = with_given_trials(workspace, monkeypatch, list(seeds), training, seeds=8, epochs=1)
    states = {rate: trial.state for rate, trial in trials.items()}
    assert states == {
        best: TrialState.COMPLETE,
        worse: TrialState.PRUNED,
        better: TrialState.COMPLETE,
        mixed: TrialState.COMPLETE,
    }
    # By the third seed the one-sided p is 1/8, by the second it is 1/4.
    assert [seed for rate, seed in training.trained if rate == worse] == [0, 1, 2]


SEARCHES = [
    (suite, name, planned.search)
    for suite in ("digits", "cifar10", "cifar10-paper")
    for name, planned in make_plan(Library(), suite).studies.items()
    if planned.search
]


def test_the_seven_studies_have_a_search_in_every_suite():
    seven = {
        "depth",
        "batch_norm",
        "layer_norm",
        "regularisation",
        "bottleneck",
        "cardinality",
        "growth_rate",
    }
    for suite in ("digits", "cifar10", "cifar10-paper"):
        assert seven <= {name for other, name, _ in SEARCHES if other == suite}


@pytest.mark.parametrize("seeds", sorted({each.seeds for suite, _, each in SEARCHES if suite != "digits"}))
def test_the_test_over_seeds_spares_runs_in_the_searches_of_the_larger_suites(workspace, monkeypatch, seeds):
    errors = {0.1: [10.0 + seed for seed in range(seeds)], 0.2: [20.0 + seed for seed in range(seeds)]}
    training = Given({rate: [50.0] for rate in errors}, errors)
    trials = with_given_trials(workspace, monkeypatch, list(errors), training, seeds=seeds, epochs=1)
    assert trials[0.2].state == TrialState.PRUNED
    assert [seed for rate, seed in training.trained if rate == 0.2] == [0, 1, 2] and seeds > 3


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_a_trial_is_not_stopped_at_its_last_step_where_nothing_is_left_to_save(workspace, monkeypatch, seeds):
    rates = [round(0.01 * (1 + n), 2) for n in range(6)]
    # Alike until the last epoch of the first run, and ever worse from then on.
    epochs = {rate: [50.0, 50.0, 50.0 if seeds > 1 else 1000 * rate] for rate in rates}
    training = Given(epochs, {rate: [50.0] * (seeds - 1) + [1000 * rate] for rate in rates})
    trials = with_given_trials(workspace, monkeypatch, rates, training, seeds=seeds, epochs=3)
    assert {trial.state for trial in trials.values()} == {TrialState.COMPLETE}
    assert len(training.trained) == 6 * seeds


def test_errors_of_epochs_have_no_part_in_the_test_over_seeds():
    pruner = EpochsThenSeeds(3, warmup=0)
    trial = optuna.trial.create_trial(
        value=1.0, intermediate_values={1: 90.0, 2: 80.0, 3: 70.0, 4: 7.0, 5: 8.0}
    )
    assert pruner.seeds_of(trial).intermediate_values == {4: 7.0, 5: 8.0}


@pytest.mark.parametrize(
    "space, epochs, warmup",
    [
        (RATE, 4, 1.0),
        ("{epochs: [2, 9], warmup: {low: 0, high: 2.5}}", 9, 2.5),
        ("{epochs: [2, 3], warmup: [0, 0.5]}", 4, 1.0),  # the arm's own are greater, and may be kept
        ("{flip: [true, false], epochs: {choices: [2, 3], when: {flip: true}}}", 4, 1.0),
        ("{flip: [true, false], warmup: {low: 0.5, high: 1.5, when: {flip: true}}}", 4, 1.5),
    ],
)
def test_the_first_rung_is_after_the_longest_warm_up_and_the_last_after_the_most_epochs(
    workspace, monkeypatch, space, epochs, warmup
):
    definitions(workspace, f"{{trials: 2, space: {space}}}", epochs=4)
    suite = workspace / "my" / "suites" / "tiny.yaml"
    suite.write_text(suite.read_text().replace("epochs: 4,", "epochs: 4, warmup: 1,"))
    study, given = planned(workspace), []
    begin("tiny", study, open_storage("tiny"))
    monkeypatch.setattr(searching, "EpochsThenSeeds", lambda *limits: given.append(limits))
    studies(study)
    assert given == [(epochs, warmup)]


@pytest.mark.parametrize("warmup", [0, 1.0, 2.5])
def test_no_trial_is_stopped_while_its_rates_still_grow(workspace, monkeypatch, warmup):
    monkeypatch.setattr(searching, "EpochsThenSeeds", lambda epochs, _: EpochsThenSeeds(epochs, warmup))
    rates = [round(0.01 * (1 + n), 2) for n in range(12)]
    training = Given({rate: [1000 * rate] * 9 for rate in rates}, {rate: [1000 * rate] * 2 for rate in rates})
    trials = with_given_trials(workspace, monkeypatch, rates, training, seeds=2, epochs=9)
    stopped = {
        training.trained[rate, 0] for rate, trial in trials.items() if trial.state == TrialState.PRUNED
    }
    assert stopped and min(stopped) == int(warmup) + 1


def test_two_objectives_are_error_and_multiply_adds_and_nothing_is_pruned(tmp_path):
    space = "{stem_width: [8, 16, 32], norm: [batch, group], groups: {choices: [4, 8], when: {norm: group}}}"
    definitions(tmp_path, f"{{trials: 6, seeds: 1, objectives: [validation_error, macs], space: {space}}}")
    search(tmp_path)
    trials = table(tmp_path)
    assert (trials["state"] == "finished").all() and len(trials) == 6
    with contextlib.chdir(tmp_path):
        plan = make_plan(Library("my"), "tiny")
        (arm,) = plan.study("depth").arms.values()
        header = read_header(layout.data(arm.data_key))
        for row in trials.to_dict("records"):
            network = arm.model.model_copy(
                update={"stem_width": row["model.stem_width"], "norm": row["model.norm"]}
            )
            assert row["macs"] == count(network, header.shape, header.classes).macs
        (tuned,) = plan.study("depth-tuned").arms.values()
    assert trials["macs"].nunique() > 1
    assert (trials["model.groups"].notna() == (trials["model.norm"] == "group")).all()
    best = trials.loc[trials["validation_error"].idxmin()]
    assert (tuned.model.stem_width, tuned.model.norm) == (best["model.stem_width"], best["model.norm"])


# ------------------------------------------------------------------------------------------ Optuna, databases, secrets

EVERY_KIND = """{trials: 8, seeds: 3, space: {
  optimiser: [sgd, adam], learning_rate: {low: 0.001, high: 0.5, log: true}, warmup: {low: 0, high: 1, step: 0.25},
  batch_size: {low: 32, high: 64, step: 16}, momentum: {low: 0.5, high: 0.95, when: {optimiser: sgd}},
  dropout: {low: 0, high: 0.3}, flip: [true, false]}}"""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("address", ["", "sqlite:///trials.db"])
@pytest.mark.parametrize("objectives", ["", "objectives: [validation_error, macs], "])
def test_no_interface_of_optuna_is_used_that_is_to_go(workspace, monkeypatch, address, objectives):
    monkeypatch.setenv(ADDRESS, address)
    study, _ = begun(
        workspace, search=EVERY_KIND.replace("{trials", f"{{{objectives}trials", 1), depths="[8, 14]"
    )
    if not address:
        studies(study)[0].ask()  # one left behind, which is seen at once
    worker(study, Pretended())
    check_every_place_is_spent_once(study)
    write_outcome("tiny", study, open_storage("tiny"))
    assert len(table(workspace)) == 16 + (not address)
    worker(study, Pretended())
    assert (workspace / "trials.db").exists() == bool(address)
    assert layout.journal("tiny").exists() == (not address)


def test_a_trial_left_behind_on_a_database_is_failed_over_by_its_heartbeat(workspace, monkeypatch):
    monkeypatch.setenv(ADDRESS, "sqlite:///trials.db")
    monkeypatch.setattr(storages, "HEARTBEAT", 1)
    monkeypatch.setattr(storages, "GRACE", 2)
    study, _ = begun(workspace, search=f"{{trials: 3, seeds: 1, space: {RATE}}}")
    slow = waits_in_its_first_run(study, workspace)
    with pytest.warns(UserWarning, match="Heartbeat"):
        studies(study)[0].ask()  # taken, and neither signed nor with a heartbeat: killed in between
    os.kill(slow, signal.SIGKILL)
    ended(slow)
    monkeypatch.setattr(working, "PAUSE", 0.2)
    worker(study, Pretended())
    check_every_place_is_spent_once(study)
    write_outcome("tiny", study, open_storage("tiny"))
    assert list(table(workspace)["place"]) == [0, 0, 1, 1, 2]
    assert list(table(workspace)["state"] == "failed") == [True, False, True, False, False]


SECRET = "s3cr3t"
ADDRESSES = [
    f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/none",
    f"postgresql+psycopg://me@127.0.0.1:1/none?password={SECRET}",
    f"postgresql+psycopg://me:{SECRET}{{}}{{x}}@127.0.0.1:1/none",
    f"postgresql+psycopg://me:a@{SECRET}@127.0.0.1:1/none",
    f"postgresql+psycopg://me@127.0.0.1:{SECRET}/none",
    f"postgresql+nothing://me:{SECRET}@127.0.0.1:1/none",
    f"sqlite+pysqlcipher://:{SECRET}@/none.db",
    f"me:{SECRET}@127.0.0.1",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_cannot_be_used_is_one_message_without_its_password(
    workspace, monkeypatch, capsys, address
):
    pytest.importorskip("psycopg")
    definitions(workspace, f"{{trials: 2, space: {RATE}}}")
    monkeypatch.setenv(ADDRESS, address)
    assert main(["search", "depth", *OWN]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("ablations: ") and told.err.count("\n") == 1
    assert SECRET not in told.err + told.out
    assert "127.0.0.1" in told.err or f"${ADDRESS}" in told.err
    assert not [
        path for path in workspace.rglob("*") if path.is_file() and SECRET in path.read_text(errors="replace")
    ]


def test_a_database_of_another_version_of_optuna_is_said(workspace, monkeypatch, capsys):
    monkeypatch.setenv(ADDRESS, "sqlite:///old.db")
    definitions(workspace, f"{{trials: 2, seeds: 1, space: {RATE}}}", epochs=1)
    open_storage("tiny")
    with contextlib.closing(sqlite3.connect("old.db")) as database, database:
        database.execute("update alembic_version set version_num = 'v3.0.0.a'")
    assert main(["search", "depth", *OWN]) == 2
    told = capsys.readouterr().err
    assert (
        told.startswith("ablations: sqlite:///old.db: The runtime optuna version") and told.count("\n") == 1
    )
    assert "optuna storage upgrade" in told and "Or name a new database." in told


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql+psycopg://me:{SECRET}@host/name",
        f"postgresql+psycopg://me:@{SECRET}@host/name",
        f"postgresql+psycopg://me@host/name?sslmode=require&password={SECRET}",
        f"mysql://me@host/name?passwd={SECRET}",
        f"postgresql://me@[{SECRET}/name",
    ],
)
def test_a_password_in_the_configuration_is_refused_without_showing_it(address):
    with pytest.raises(UserError, match="--config storage: the address has a password") as raised:
        without_password(address, "--config storage")
    assert SECRET not in str(raised.value)
    assert "as PGPASSWORD, or in the whole address as ABLATIONS_STORAGE" in str(raised.value)


@pytest.mark.parametrize(
    "address", ["", "postgresql+psycopg://me@host:5432/name?sslmode=require", "sqlite:///a.db"]
)
def test_an_address_without_a_password_is_taken_as_it_is(address):
    assert without_password(address, "--config storage") == address


def test_an_address_goes_nowhere_but_into_the_environment(workspace, monkeypatch, capsys):
    """A name in the address of a database that is used stands for its password."""
    monkeypatch.setenv(ADDRESS, f"sqlite:///{workspace / SECRET}.db")
    definitions(workspace, f"{{trials: 2, seeds: 1, space: {RATE}}}", epochs=1)
    search(workspace)
    assert SECRET not in capsys.readouterr().out
    files = [path for path in (workspace / "results").rglob("*") if path.is_file()]
    assert files and not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_what_cannot_be_searched_is_said(workspace, capsys):
    write(workspace / "my" / "suites" / "tiny.yaml", SUITE.format(epochs=1, depths="[8]"))
    write(workspace / "my" / "studies" / "depth.yaml", DEPTH)
    assert main(["search", "depth", *OWN]) == 2
    assert "depth.yaml: the study has no `search`" in capsys.readouterr().err
    definitions(workspace, f"{{trials: 2, space: {RATE}}}")
    assert main(["train", "depth-tuned", *OWN]) == 2
    assert "best.yaml: not there yet; make it with: snakemake search" in capsys.readouterr().err
    assert main(["search", "depth", *OWN, "--part", "end"]) == 2
    assert "begin with: ablations search depth --suite tiny --part begin" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ the whole way


ASKED = ("search", "--config", "suite=tiny", "extra=my", "study=depth")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A search and its report, made by Snakemake with two cores, with what it printed."""
    folder = tmp_path_factory.mktemp("tuned")
    definitions(folder, f"{{trials: 4, seeds: 2, space: {SPACE}}}", epochs=1, depths="[8, 14]")
    return folder, snakemake(*ASKED, folder=folder)


def test_snakemake_tunes_a_study_and_writes_its_report(tuned):
    folder, output = tuned
    text = " ".join((folder / "report" / "tiny" / "depth-tuned.md").read_text().split())
    assert "What tuning changes" in text and "Each of 2 arms had 4 trials" in text
    assert "By depth, the learning rates that work span" in text
    assert (folder / "report" / "tiny" / "depth-tuned.pdf").read_bytes().startswith(b"%PDF-")
    assert output.count("Doing trials of depth") == 2  # by as many workers as cores
    assert len(table(folder).query("state in ['finished', 'pruned']")) == 8
    assert f"snakemake search --cores all {' '.join(ASKED[1:])}" in text
    assert "each with the settings that a search found for it" in text and "not tuned for each" not in text
    repeated = re.search(r"`ablations (train depth [^`]*--trial 0[^`]*)`", text)[1]
    with contextlib.chdir(folder):
        assert main(repeated.split()) == 0


@pytest.mark.parametrize("more", [(), ("workers=3",)])
@pytest.mark.parametrize("cores", [1, 2, 4])
def test_a_finished_search_has_nothing_to_do_whatever_the_number_of_cores(tuned, cores, more):
    folder, _ = tuned
    made = {path: path.stat().st_mtime_ns for path in folder.glob("re*/tiny/**/*") if path.is_file()}
    assert "Nothing to be done" in snakemake(*ASKED, *more, folder=folder, cores=cores)
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_what_needs_no_cores_is_not_asked_for_their_number(tuned):
    folder, _ = tuned
    snakemake(*ASKED, "--unlock", folder=folder, cores=None)
    assert "search/best.yaml" in snakemake(*ASKED, "--summary", folder=folder, cores=None)
    snakemake(*ASKED, "--report", "provenance.html", folder=folder, cores=None)
    page = (folder / "provenance.html").read_text()
    assert "search/trials.csv" in page and "depth-tuned.pdf" in page


def test_a_raised_budget_is_gone_on_with_by_new_workers_also_after_a_kill(tuned, tmp_path):
    folder = tmp_path / "raised"
    shutil.copytree(tuned[0], folder)  # with the times of files
    definitions(folder, f"{{trials: 6, seeds: 2, space: {SPACE}}}", epochs=1, depths="[8, 14]")
    snakemake(*ASKED, "--until", "begin_search", folder=folder)  # killed after this
    output = snakemake(*ASKED, "workers=3", folder=folder)
    assert output.count("Doing trials of depth") == 3 and "Training resnet" not in output
    assert len(table(folder).query("state in ['finished', 'pruned']")) == 12
    assert "Nothing to be done" in snakemake(*ASKED, folder=folder)


def test_a_study_without_a_search_is_said(tmp_path):
    definitions(tmp_path, f"{{trials: 4, seeds: 2, space: {SPACE}}}", epochs=1)
    wrong = snakemake("-n", *ASKED[:-1], "study=width", folder=tmp_path, check=False)
    assert (
        "--config: study: found width (did you mean" in wrong
        and "these have a search: " in wrong
        and "Traceback" not in wrong
    )


ELSEWHERE = """
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(non_local_exec=True, implies_no_shared_fs=False, job_deploy_sources=False)


class Executor(RemoteExecutor):
    def run_job(self, job): ...
    async def check_active_jobs(self, active_jobs): ...
    def cancel_jobs(self, active_jobs): ...
"""


def test_jobs_on_other_machines_are_refused_without_a_database(tuned, tmp_path, monkeypatch):
    write(tmp_path / "plugins" / "snakemake_executor_plugin_elsewhere" / "__init__.py", ELSEWHERE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "plugins"), prepend=os.pathsep)
    monkeypatch.delenv(ADDRESS, raising=False)
    definitions(tmp_path, f"{{trials: 4, seeds: 2, space: {SPACE}}}", epochs=1)
    elsewhere = ("--executor", "elsewhere", "--jobs", "4")
    refused = snakemake(*ASKED, *elsewhere, folder=tmp_path, check=False, cores=None)
    assert "Jobs on other machines need a database: --config storage=" in refused
    assert "Traceback (most recent" not in refused and not (tmp_path / "results" / "runs").exists()
    listed = snakemake(
        *ASKED, "storage=sqlite:///trials.db", *elsewhere, "--summary", folder=tmp_path, cores=None
    )
    assert "search/best.yaml" in listed
    # One that is finished needs none any more.
    assert "Nothing to be done" in snakemake(*ASKED, *elsewhere, folder=tuned[0], cores=None)


def test_snakemake_refuses_a_password_in_the_configuration(tmp_path):
    definitions(tmp_path, f"{{trials: 4, seeds: 2, space: {SPACE}}}", epochs=1)
    address = f"storage=postgresql+psycopg://me:{SECRET}@127.0.0.1/none"
    refused = snakemake("-n", *ASKED, address, folder=tmp_path, check=False)
    assert "--config storage: the address has a password in it" in refused and SECRET not in refused


def test_optuna_dashboard_opens_the_journal_with_the_command_of_the_readme(workspace):
    pytest.importorskip("optuna_dashboard", reason="no optuna-dashboard: pip install optuna-dashboard")
    study, _ = begun(workspace, search=f"{{trials: 3, seeds: 1, space: {RATE}}}", depths="[8, 14]")
    worker(study, Pretended())
    command = re.search(r"^optuna-dashboard .*$", (ROOT / "README.md").read_text(), re.MULTILINE)[0]
    program, *rest = command.replace("digits", "tiny").split()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, "-c", "from optuna_dashboard._cli import main; main()"]
    where = ["--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(
        [*program, *rest, *where], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as server:
        try:
            found = None
            while found is None:
                assert server.poll() is None, server.stdout.read().decode()
                with contextlib.suppress(urllib.error.URLError):
                    answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies").read()
                    found = json.loads(answer)["study_summaries"]
                time.sleep(0.1)
        finally:
            server.terminate()
    assert {each["study_name"] for each in found} == {each.study_name for each in studies(study)}
