"""One Snakemake at a time on a suite, whatever became of the last one; and one process at a run."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, TINY, environment, small_depth, snakemake, snakemake_command, write

from ablations import layout, locks, owner
from ablations.errors import UserError
from ablations.locks import alone, take
from ablations.owner import SNAKEMAKES_LOCKS, Owner, occupy

HOLD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from ablations.owner import occupy
occupy(sys.argv[2])
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(workspace):
    """Starts another process that owns a suite of the working folder."""
    started = []

    def start(suite):
        command = [sys.executable, "-c", HOLD, str(ROOT), suite]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "taken\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def snakemakes_lock(name, *files):
    return write(SNAKEMAKES_LOCKS / name, "\n".join(files) + "\n")


def test_the_second_one_is_told_who_is_at_work(other):
    process = other("digits")
    with pytest.raises(
        UserError, match=rf"^suite digits is being worked on by process {process.pid} on .*: -c"
    ):
        occupy("digits")
    occupy("smoke")  # another suite is free


def test_a_killed_owner_is_gone_and_its_locks_are_removed_those_of_other_suites_are_not(other, capsys):
    process, neighbour = other("digits"), other("smoke")
    stale = [snakemakes_lock("0.input.lock", "results/data/x", "results/digits/arms/a.csv")]
    stale.append(snakemakes_lock("0.output.lock", "report/digits/report.md"))
    fresh = snakemakes_lock("1.output.lock", "results/smoke/arms/a.csv", "results/digits-2/arms/b.csv")
    process.send_signal(signal.SIGKILL)
    process.wait()
    occupy("digits")
    assert not any(path.exists() for path in stale) and fresh.exists()
    told = capsys.readouterr().err
    assert "The last Snakemake on suite digits was killed" in told and f"process {process.pid}" in told
    with pytest.raises(UserError, match=f"process {neighbour.pid}"):
        occupy("smoke")


def test_locks_on_shared_data_are_removed_once_nobody_is_at_work(other, capsys):
    killed, neighbour = other("digits"), other("smoke")
    shared = snakemakes_lock("0.output.lock", "results/data/x.safetensors", "results/digits/arms/a.csv")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    other("tiny").communicate("")
    assert shared.exists()  # the neighbour's, for all that is known
    neighbour.communicate("")
    write(layout.owner("smoke"), "")  # one that was killed before it could say who it is
    occupy("cifar10")
    assert not shared.exists() and "The last Snakemake was killed." in capsys.readouterr().err


def test_an_owner_whose_file_was_deleted_leaves_that_of_the_next(other):
    first = other("digits")
    layout.owner("digits").unlink()
    second = other("digits")
    first.communicate("")
    assert owner.read(layout.owner("digits")).process == second.pid
    with pytest.raises(UserError, match=f"process {second.pid}"):
        occupy("digits")


def test_an_owner_that_ends_leaves_nothing(other):
    process = other("digits")
    process.communicate("")
    assert process.returncode == 0 and not layout.owner("digits").exists()
    occupy("digits")


def test_without_locks_the_process_number_tells(workspace, monkeypatch):
    def none(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(owner.atexit, "register", lambda *_: None)
    path = layout.owner("digits")
    path.parent.mkdir(parents=True)
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    for process, host, free in (
        (int(gone.stdout), owner.socket.gethostname(), True),
        (os.getppid(), owner.socket.gethostname(), False),
        (int(gone.stdout), "another-machine", False),
    ):
        path.write_text(
            json.dumps({"process": process, "host": host, "since": "noon", "command": "snakemake"})
        )
        if free:
            occupy("digits")
            assert owner.read(path).process == os.getpid()
        else:
            with pytest.raises(UserError, match=r"if it is gone, delete results/digits/owner\.json"):
                occupy("digits")
    monkeypatch.setattr(fcntl, "flock", flock)
    # Locks that hold on one machine only: of another machine a free one tells nothing.
    with pytest.raises(
        UserError, match=r"last worked on by .* on another-machine, .* If it has, delete results"
    ):
        occupy("digits")
    monkeypatch.setattr(fcntl, "flock", none)
    with alone(workspace / "lock", "waiting"):  # nothing is locked, and nothing fails
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"process": 1}', b"\xff"])
def test_a_file_that_tells_no_owner(workspace, content):
    path = layout.owner("digits")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert owner.read(path) is None
    occupy("digits")
    assert isinstance(owner.read(path), Owner)


def test_a_lock_that_its_last_holder_removed_is_none(tmp_path):
    path = tmp_path / "lock"
    first = take(path)
    path.unlink()
    first.close()
    assert take(path) and path.exists()


def test_one_process_at_a_time_and_again_within_it(tmp_path, capfd):
    path, order = tmp_path / "lock", tmp_path / "order"

    def say(word):
        with order.open("a") as file:
            file.write(f"{word}\n")

    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(ready, 1)
        with alone(path, "someone is at it"):
            say("child")
        os._exit(0)
    with alone(path, "never"), alone(path, "never"):
        os.write(go, b".")
        time.sleep(0.5)
        say("parent")
    assert os.waitpid(child, 0)[1] == 0
    assert order.read_text().split() == ["parent", "child"]
    assert capfd.readouterr().out == "someone is at it\n" and not path.exists() and not locks.held


def test_what_ends_a_wait_ends_it(tmp_path, capsys):
    class Enough(Exception):
        pass

    def enough():
        raise Enough

    holder = take(tmp_path / "lock")
    with pytest.raises(Enough), alone(tmp_path / "lock", "waiting", enough):
        raise AssertionError("it is taken")
    assert capsys.readouterr().out == "waiting\n" and not locks.held
    holder.close()


# ------------------------------------------------------------------------------------------ by Snakemake


def test_snakemake_says_who_is_at_work_and_looking_is_allowed(other):
    write(layout.owner("tiny").parent.parent.parent / "my" / "suites" / "tiny.yaml", TINY.format(seeds=1))
    process = other("tiny")
    folder, own = layout.owner("tiny").absolute().parents[2], ("--config", "suite=tiny", "extra=my")
    output = snakemake(*own, folder=folder, check=False)
    assert f"suite tiny is being worked on by process {process.pid}" in output and "Traceback" not in output
    assert not list(folder.glob("results/runs/*"))
    assert "This was a dry-run" in snakemake("-n", *own, folder=folder)


def test_a_plain_command_goes_on_after_snakemake_was_killed(workspace):
    write(workspace / "my" / "suites" / "tiny.yaml", TINY.format(seeds=1))
    write(workspace / "my" / "studies" / "depth.yaml", small_depth())
    own = ("--config", "suite=tiny", "extra=my")
    process = subprocess.Popen(
        snakemake_command(*own),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 120
    while not list(SNAKEMAKES_LOCKS.glob("*.lock")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(SNAKEMAKES_LOCKS.glob("*.lock"))
    output = snakemake("results/tiny/depth/runs.csv", *own, folder=workspace)
    assert "The last Snakemake on suite tiny was killed" in output
    assert (workspace / "results" / "tiny" / "depth" / "runs.csv").is_file()
