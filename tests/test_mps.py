"""workflow/mps.sh with a stand-in for NVIDIA's daemon; no GPU needed."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, write

MPS = ROOT / "workflow" / "mps.sh"
TOOLS = ("bash", "cat", "cksum", "dirname", "grep", "mkdir", "mktemp", "paste", "rm", "sleep")
# As the daemon and its control do: a daemon a folder, a file while it runs, the messages and exit statuses.
STAND_IN = """#!/usr/bin/env bash
folder=${CUDA_MPS_PIPE_DIRECTORY:-$DEFAULT_PIPE_DIRECTORY}
running=$folder/nvidia-cuda-mps-control.pid
if [ "${1-}" = -d ]; then
    if [ -e "$running" ]; then echo "An instance of this daemon is already running"; exit 1; fi
    if [ -n "${BROKEN-}" ]; then exit "$BROKEN"; fi
    echo "start ${CUDA_VISIBLE_DEVICES-all}" >> "$CALLS"
    echo 1 > "$running"
    if [ -n "${SIGNAL-}" ]; then kill -s "$SIGNAL" "$PPID"; fi
    exit
fi
read -r asked
if [ ! -e "$running" ]; then echo "Cannot find MPS control daemon process"; exit 1; fi
if [ "$asked" = quit ]; then echo quit >> "$CALLS"; rm "$running"; fi
"""
# Lists the devices of a machine, or the UUIDs of those asked for.
SMI = """#!/usr/bin/env bash
case $* in
    -L) echo "$LISTING" ;;
    *--id=2,3) echo GPU-c; echo GPU-d ;;
    *) echo "No devices were found"; exit 6 ;;
esac
"""
PARTITIONED = "GPU 0: A100 (UUID: GPU-a)\n  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef)"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A folder with the stand-in and nothing else of NVIDIA's on PATH."""
    programs = tmp_path / "programs"
    write(programs / "nvidia-cuda-mps-control", STAND_IN).chmod(0o755)
    write(programs / "nvidia-smi", SMI).chmod(0o755)
    for tool in TOOLS:
        (programs / tool).symlink_to(shutil.which(tool))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "run").mkdir()
    for name, value in (
        ("PATH", programs),
        ("XDG_RUNTIME_DIR", tmp_path / "run"),
        ("DEFAULT_PIPE_DIRECTORY", tmp_path / "default"),
        ("CALLS", tmp_path / "calls"),
        ("LISTING", "GPU 0: A100 (UUID: GPU-a)"),
    ):
        monkeypatch.setenv(name, str(value))
    return tmp_path


def mps(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([MPS, *command], capture_output=True, text=True, timeout=60, **options)


def calls(machine: Path) -> list[str]:
    """What was asked of the daemon, and what commands have written."""
    path = machine / "calls"
    return path.read_text().splitlines() if path.exists() else []


def say(words: str) -> str:
    return f'echo {words} >> "$CALLS"'


def test_the_daemon_runs_around_the_command_in_folders_of_the_users_own(machine):
    done = mps(
        "bash",
        "-c",
        f"{say('$CUDA_MPS_PIPE_DIRECTORY')}; read -r line; {say('$line')}; exit 7",
        input="input\n",
    )
    assert done.returncode == 7 and done.stderr == ""
    started, pipes, line, quitted = calls(machine)
    assert (started, line, quitted) == ("start all", "input", "quit")
    folders = (Path(pipes), Path(pipes) / "log")
    assert folders[0].parent == machine / "run"
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700, 0o700]


def test_a_runtime_folder_that_is_not_there_is_not_used(machine, monkeypatch):
    """Slurm hands the variable from the machine where a job was submitted to the one where it runs."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(machine / "elsewhere"))
    monkeypatch.setenv("TMPDIR", str(machine / "temporary"))
    assert mps("bash", "-c", say("$CUDA_MPS_PIPE_DIRECTORY")).returncode == 0
    assert Path(calls(machine)[1]).parent == machine / "temporary"


def test_each_choice_of_devices_and_each_job_of_slurm_has_a_daemon(machine, monkeypatch):
    places = set()
    for devices, job in (("GPU-a", "1"), ("GPU-a", "2"), ("GPU-b", "2")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
        monkeypatch.setenv("SLURM_JOB_ID", job)
        assert mps("bash", "-c", say("$CUDA_MPS_PIPE_DIRECTORY")).returncode == 0
        places.add(calls(machine)[-2])
    assert len(places) == 3


# Tells that it runs, and then which signal ends it.
WAITING = """
import os, signal, sys, time
def told(number, frame):
    os.write(1, f"{signal.Signals(number).name}\\n".encode())  # print may be at work when the signal comes
    sys.exit(3)
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
for name in sys.argv[1:]:
    signal.signal(signal.Signals[name], told)
print("ready", flush=True)
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT"])
def test_a_signal_ends_the_command_and_then_the_daemon(machine, name):
    command = [MPS, sys.executable, "-c", WAITING, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout.readline() == "ready\n"
        if name == "SIGINT":  # a terminal sends it to all
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.Signals[name])
        assert process.stdout.read() == f"{name}\n"
        assert process.wait(60) == 3
    assert calls(machine) == ["start all", "quit"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_command_ends_only_the_daemon(machine, monkeypatch, number):
    monkeypatch.setenv("SIGNAL", number.name.removeprefix("SIG"))
    assert mps("bash", "-c", say("ran")).returncode == 128 + number
    assert calls(machine) == ["start all", "quit"]


# Counts signals until a line comes.
HEEDLESS = """
import signal
signal.signal(signal.SIGTERM, lambda *_: print("heard", flush=True))
print("ready", flush=True)
input()
"""


def test_a_command_that_does_not_heed_a_signal_keeps_its_daemon(machine):
    command = [MPS, sys.executable, "-c", HEEDLESS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "heard\n"
        assert calls(machine) == ["start all"]
        process.communicate("\n", timeout=60)
    assert process.returncode == 0 and calls(machine) == ["start all", "quit"]


@pytest.mark.parametrize("place", ["CUDA_MPS_PIPE_DIRECTORY", "DEFAULT_PIPE_DIRECTORY"])
def test_a_daemon_that_is_there_is_used_and_left_running(machine, monkeypatch, place):
    running = write(machine / "theirs" / "nvidia-cuda-mps-control.pid", "1")
    monkeypatch.setenv(place, str(running.parent))
    done = mps("bash", "-c", f"{say('ran')}; exit 4")
    assert done.returncode == 4 and calls(machine) == ["ran"] and running.exists()
    assert "already serves" in done.stderr and done.stderr.count("\n") == 1


def test_one_within_another_uses_its_daemon(machine):
    assert mps(str(MPS), "bash", "-c", say("ran")).returncode == 0
    assert calls(machine) == ["start all", "ran", "quit"]


def test_what_is_missing_or_fails_ends_in_one_message(machine, monkeypatch):
    def message(*command: str) -> str:
        done = mps(*command)
        assert done.returncode == 2 and done.stderr.startswith("mps.sh: ") and done.stderr.count("\n") == 1
        return done.stderr

    ran = ("bash", "-c", say("ran"))
    monkeypatch.setenv("BROKEN", "1")
    assert "has not started; its log: " in message(*ran)
    (machine / "programs" / "nvidia-cuda-mps-control").unlink()
    assert "no program nvidia-cuda-mps-control" in message(*ran)
    assert calls(machine) == []
    done = mps()
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
    done = mps("--help")
    assert (
        done.returncode == 0
        and done.stdout.startswith("usage: ")
        and "ACTIVE_THREAD_PERCENTAGE" in done.stdout
    )


def test_a_command_that_is_not_there_stops_the_daemon_too(machine):
    assert mps("no-such-command").returncode == 127
    assert calls(machine) == ["start all", "quit"]


def test_devices_are_named_by_uuid_and_one_mig_instance_at_a_time(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert mps("bash", "-c", say("$CUDA_VISIBLE_DEVICES")).returncode == 0
    assert calls(machine) == ["start GPU-c,GPU-d", "GPU-c,GPU-d", "quit"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    done = mps("bash", "-c", say("ran"))
    assert done.returncode == 2 and "no UUIDs for CUDA_VISIBLE_DEVICES=5" in done.stderr

    monkeypatch.setenv("LISTING", PARTITIONED)
    for devices, status in (("0", 2), ("MIG-a,MIG-b", 2), ("MIG-c6d4f1ef", 0), ("GPU-b", 0)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
        done = mps("bash", "-c", "true")
        assert done.returncode == status and ("one MIG instance at a time" in done.stderr) == (status == 2)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say():
    assert subprocess.run(["shellcheck", MPS], capture_output=True, text=True).stdout == ""
