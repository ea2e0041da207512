from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import ROOT, write

from ablations import gpus
from ablations.errors import UserError
from ablations.training import lease
from ablations.training.lease import leased, visible_devices

A, B = "GPU-aaaa0000-1111-2222-3333-444444444444", "GPU-bbbb0000-1111-2222-3333-444444444444"
TWO = f"""GPU 0: NVIDIA A100-SXM4-40GB (UUID: {A})
GPU 1: NVIDIA A100-SXM4-40GB (UUID: {B})
"""
# As in the MIG user guide, partitioned, beside a GPU that is not.
PARTITIONED = f"""GPU 0: A100-SXM4-40GB (UUID: {A})
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4f1ef)
  MIG 1g.5gb      Device  1: (UUID: MIG-GPU-e86cb44c/7/0)
GPU 1: NVIDIA H100 (UUID: {B})
"""
START = "import os, sys, time\nfrom pathlib import Path\nfrom ablations.training.lease import *\n"
# Holds a slot of the devices argv[1] until a line comes, and tells.
HOLD = (
    START
    + "with leased(sys.argv[1].split(','), int(sys.argv[2])) as device: print(device, flush=True); input()"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The lock files of a test, and no device but those it names."""
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ABLATIONS_LEASES", str(tmp_path / "leases"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpus, "DEVICES", tmp_path)
    return tmp_path / "leases"


@pytest.fixture
def start():
    """A Python process that runs some code; killed after the test."""
    with ExitStack() as stack:

        def start(code: str, *arguments: object) -> subprocess.Popen:
            command = [sys.executable, "-c", code, *map(str, arguments)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(
                command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def smi(monkeypatch, listing: str) -> None:
    """A machine whose `nvidia-smi -L` lists this."""
    monkeypatch.setattr(lease, "nvidia_smi", lambda: listing)


def is_free(device: str, runs_per_gpu: int = 1) -> bool:
    with suppress(UserError), leased([device], runs_per_gpu, wait=0):
        return True
    return False


def seconds_until_free(device: str) -> float:
    started = time.monotonic()
    with leased([device], wait=10):
        return time.monotonic() - started


# ------------------------------------------------------------------------------------------- taking turns


def test_eight_jobs_on_two_devices_never_share_one(start, tmp_path):
    # The marker is made only where there is none, so a second holder of the device would fail.
    code = START + (
        "with leased(['0', '1']) as device:\n"
        "    assert os.environ['CUDA_VISIBLE_DEVICES'] == device\n"
        "    marker = Path(sys.argv[1]) / f'on-{device}'\n"
        "    marker.touch(exist_ok=False)\n"
        "    begin = time.monotonic(); time.sleep(0.1); end = time.monotonic()\n"
        "    marker.unlink()\n"
        "print('TOOK', device, begin, end)"
    )
    jobs = [start(code, tmp_path) for _ in range(8)]
    told = [job.communicate(timeout=20)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 8
    taken = [line.split()[1:] for text in told for line in text.splitlines() if line.startswith("TOOK")]
    assert len(taken) == 8 and {device for device, *_ in taken} == {"0", "1"}
    for device in ("0", "1"):
        times = sorted((float(begin), float(end)) for on, begin, end in taken if on == device)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(times))


def test_two_runs_a_gpu_are_four_at_a_time_and_two_on_each(start, tmp_path):
    code = START + (
        "with leased(['0', '1'], 2) as device:\n"
        "    (Path(sys.argv[1]) / f'{device}.{os.getpid()}').touch()\n"
        "    input()\n"
        "    (Path(sys.argv[1]) / f'{device}.{os.getpid()}').unlink()\n"
    )
    markers = tmp_path / "markers"
    markers.mkdir()
    jobs = {job.pid: job for job in [start(code, markers) for _ in range(8)]}
    for _ in range(5):
        wait_until(lambda: len(list(markers.iterdir())) >= 4)
        time.sleep(0.3)  # longer than between two looks
        running = [path.name.split(".") for path in markers.iterdir()]
        assert sorted(device for device, _ in running) == ["0", "0", "1", "1"]
        job = jobs.pop(int(running[0][1]))  # the next one takes the place of this one
        job.communicate("\n", timeout=10)
        assert job.returncode == 0


def wait_until(what, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_200_leases_in_a_row_lose_none(folder):
    files = len(list(Path("/proc/self/fd").iterdir()))
    taken = []
    for _ in range(200):
        with leased(["0", "1"], wait=0) as device:
            taken.append(device)
    assert taken == ["0"] * 200
    assert len(list(Path("/proc/self/fd").iterdir())) == files and not lease.held
    assert sorted(path.name for path in folder.iterdir()) == ["0.0", "gate"]


def test_the_least_loaded_device_is_first_and_ties_go_by_order():
    with ExitStack() as stack:
        taken = [stack.enter_context(leased(["2", "0", "1"], 3)) for _ in range(5)]
        assert taken == ["2", "0", "1", "2", "0"]
        stack.enter_context(leased(["1"], 3))
        stack.enter_context(leased(["1"], 3))
        assert stack.enter_context(leased(["1", "2", "0"], 3)) == "2"


def test_only_one_process_at_a_time_looks_and_takes():
    second = threading.Thread(target=is_free, args=["0"])
    with lease.gate():
        second.start()
        second.join(0.3)
        assert second.is_alive()
    second.join(5)
    assert not second.is_alive()


def test_who_wants_a_gpu_alone_heeds_those_who_share_it():
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        first.enter_context(leased(["0"], 2))
        stack.enter_context(leased(["0"], 2))  # slot 1
        first.close()
        assert not is_free("0", runs_per_gpu=1) and is_free("0", runs_per_gpu=2)


# ------------------------------------------------------------------------------------------ coming to an end


def test_a_killed_holder_frees_its_slot_at_once(start):
    job = start(HOLD, "0", 1)
    assert job.stdout.readline() == "0\n" and not is_free("0")
    threading.Timer(0.3, lambda: os.kill(job.pid, signal.SIGKILL)).start()  # while we wait
    assert 0.2 < seconds_until_free("0") < 1.3


def test_an_exception_frees_the_slot_and_the_environment(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(ZeroDivisionError), leased(["1"]):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
        raise ZeroDivisionError
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1" and is_free("1")


def test_a_program_that_takes_the_place_of_the_holder_does_not_keep_the_slot(start):
    code = START + (
        "with leased(['0']):\n"
        "    os.execv(sys.executable, [sys.executable, '-c', 'print(1, flush=True); input()'])"
    )
    job = start(code)
    assert job.stdout.readline() == "1\n"
    assert is_free("0")
    job.communicate("\n", timeout=10)
    assert is_free("0")


# A fork, a program that gets all files that are not close-on-exec, and one from a shell.
CHILDREN = {
    "fork": "pid = os.fork() or (time.sleep(20), os._exit(0))",
    "program": "import subprocess; pid = subprocess.Popen(['/bin/sleep', '20'], close_fds=False).pid",
    "shell": "os.system('/bin/sleep 20 & echo $! > ' + sys.argv[1]); pid = Path(sys.argv[1]).read_text()",
}


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_that_outlives_the_holder_keeps_no_slot(start, tmp_path, child):
    code = START + f"with leased(['0']):\n    {CHILDREN[child]}\n    print(pid, flush=True); input()"
    job = start(code, tmp_path / "pid")
    pid = int(job.stdout.readline())
    try:
        assert not is_free("0")
        job.kill()
        job.wait()
        assert seconds_until_free("0") < 1
        os.kill(pid, 0)  # the child lives
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_forked_child_that_leaves_the_lease_leaves_it_to_the_parent():
    with ExitStack() as parents:
        parents.enter_context(leased(["0"]))
        child = os.fork()
        if child == 0:
            parents.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert not is_free("0")
    assert is_free("0")


# ------------------------------------------------------------------------------------------------ waiting


def test_who_waits_tells_who_holds_the_slots_at_once_and_from_time_to_time(monkeypatch):
    monkeypatch.setattr(lease, "TELL_EVERY", 0.5)
    told: list[str] = []
    first = ExitStack()
    first.enter_context(leased(["0"]))
    threading.Timer(0.9, first.close).start()
    with leased(["0"], tell=told.append):
        pass
    holder = rf"0 held by pid {os.getpid()}, user \w+, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert len(told) == 3
    assert re.fullmatch(f"waiting for a GPU, 0 s so far: {holder}", told[0])
    assert re.fullmatch(f"waiting for a GPU, [01] s so far: {holder}", told[1])
    assert told[2] == "got 0 after 1 s"


def test_who_need_not_wait_tells_nothing():
    told: list[str] = []
    with leased(["0"], tell=told.append):
        assert not told


def test_waiting_has_an_end_and_a_message():
    with leased(["0"]), leased(["1"]):
        started = time.monotonic()
        with (
            pytest.raises(
                UserError, match=r"no GPU was free for 1 s: 0 held by pid .*; 1 held by pid .*--device cpu"
            ),
            leased(["0", "1"], wait=0.6, tell=lambda line: None),
        ):
            pass
        assert 0.6 <= time.monotonic() - started < 1.5


def test_what_others_wrote_cannot_move_the_cursor(folder):
    with leased(["0"]):
        (folder / "0.0").write_bytes(b"\x1b[2Jpid \xff 1\n" + b"x" * 1000)
        assert re.fullmatch("0 held by \\[2Jpid \ufffd 1x{0,100}", lease.holders(["0"]))


# ------------------------------------------------------------------------------------------------ devices


@pytest.mark.parametrize(
    ("outer", "devices"),
    [
        (None, [A, B]),
        ("0", [A]),
        ("1,0", [B, A]),
        (" 1 , 1", [B]),
        (B, [B]),
        ("GPU-bb", [B]),
        ("GPU-", []),  # not unique
        ("GPU-cc", []),
        ("0,2,1", [A]),  # what follows an invalid entry is invisible
        ("0,-1,1", [A]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),  # Slurm to a job without devices
        ("MIG-1,MIG-GPU-2/7/0", ["MIG-1", "MIG-GPU-2/7/0"]),
    ],
)
def test_the_outer_choice_is_respected_and_named_by_uuid(monkeypatch, outer, devices):
    smi(monkeypatch, TWO)
    if outer is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outer)
    assert visible_devices() == devices


@pytest.mark.parametrize(
    ("outer", "devices"),
    [
        (None, ["0", "1"]),
        ("3,1", ["3", "1"]),
        ("1,-1,0", ["1"]),
        (f"0,{B}", ["0", B]),
        ("", []),
        ("none", []),
    ],
)
def test_without_nvidia_smi_an_index_is_its_own_name(monkeypatch, tmp_path, outer, devices):
    write(tmp_path / "nvidia0", "")
    write(tmp_path / "nvidia1", "")
    if outer is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outer)
    assert visible_devices() == devices


@pytest.mark.parametrize(
    ("outer", "devices"),
    [
        (None, ["MIG-c6d4f1ef", "MIG-GPU-e86cb44c/7/0", B]),
        ("1,0", [B, "MIG-c6d4f1ef", "MIG-GPU-e86cb44c/7/0"]),
        ("MIG-c6d4f1ef", ["MIG-c6d4f1ef"]),
    ],
)
def test_a_partitioned_gpu_is_leased_by_its_parts(monkeypatch, outer, devices):
    smi(monkeypatch, PARTITIONED)
    if outer is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", outer)
    assert visible_devices() == devices
    with leased(devices[-1:]):
        assert not is_free(devices[-1])


@pytest.mark.parametrize(
    ("choice", "devices"),
    [("auto", [B, A]), ("cuda", [B, A]), ("cuda:1", [A]), ("cpu", []), ("cuda:x", []), ("mps", [])],
)
def test_the_choice_of_a_device_limits_what_is_leased(monkeypatch, choice, devices):
    smi(monkeypatch, TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert visible_devices(choice) == devices


def test_a_device_that_is_not_there_is_an_error_at_once(monkeypatch):
    smi(monkeypatch, TWO)
    with pytest.raises(UserError, match="cuda:2 asked for, but only 2 visible"):
        visible_devices("cuda:2")
    smi(monkeypatch, "")
    assert visible_devices("cuda:2") == []  # torch says what is wrong


def test_processes_that_number_a_device_differently_share_its_slots(monkeypatch):
    smi(monkeypatch, TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with leased(visible_devices()) as device:
        assert device == B
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        assert not is_free(visible_devices("cuda:1")[0])
        with leased(visible_devices()) as other:
            assert other == A


def test_nvidia_smi_is_asked(monkeypatch, tmp_path):
    program = write(tmp_path / "nvidia-smi", f'#!/bin/sh\n[ "$1" = -L ] && echo "{TWO}"\n')
    program.chmod(0o755)
    assert visible_devices() == [A, B]
    program.write_text("#!/bin/sh\necho NVIDIA-SMI has failed; exit 9\n")
    assert visible_devices() == []


def test_without_devices_nothing_happens(folder):
    assert visible_devices() == []
    with leased([]) as device:
        assert device is None and "CUDA_VISIBLE_DEVICES" not in os.environ
    assert not folder.exists()


def test_slurm_jobs_share_out_among_themselves_only_what_slurm_gave_them(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_GPUS", "0")
    with leased(["0"]):
        assert not is_free("0")
        monkeypatch.setenv("SLURM_JOB_ID", "8")  # shares the device by Slurm's will
        assert is_free("0")


def test_a_slurm_job_that_was_given_no_devices_shares_with_the_machine(monkeypatch, start):
    assert start(HOLD, "0", 1).stdout.readline() == "0\n"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert not is_free("0")


# ------------------------------------------------------------------------------------------ users and files


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_folder_and_files_are_for_all_users_whatever_the_umask(folder, umask):
    before = os.umask(umask)
    try:
        with leased(["0"]):
            pass
        assert os.umask(umask) == umask  # left as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o666}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_users_file_can_be_locked(monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as shared:
        Path(shared).chmod(0o755)
        Path(shared, "leases").mkdir()
        Path(shared, "leases").chmod(0o1777)
        monkeypatch.setenv("ABLATIONS_LEASES", f"{shared}/leases")
        as_user(1001, lambda: is_free("0"))
        assert Path(shared, "leases", "0.0").stat().st_uid == 1001
        as_user(1002, lambda: is_free("0"))
        with leased(["0"]):
            as_user(1002, lambda: not is_free("0"))
            assert re.fullmatch(r"0 held by pid \d+, user root, since .*", lease.holders(["0"]))


def as_user(number: int, check) -> None:
    """Check something in a process of this user with a narrow umask."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            os.umask(0o077)
            os.setgroups([])
            os.setgid(number)
            os.setuid(number)
            os._exit(0 if check() else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_the_kernels_rule_for_folders_of_all_users_is_kept(monkeypatch):
    with leased(["0"]):
        pass
    opened, real = [], os.open
    monkeypatch.setattr(
        os, "open", lambda path, flags, *rest: opened.append(flags) or real(path, flags, *rest)
    )
    assert is_free("0")
    # fs.protected_regular refuses O_CREAT on a file of another user, fs.protected_symlinks may be off.
    assert opened and all(not flags & os.O_CREAT and flags & os.O_NOFOLLOW for flags in opened)


def test_a_link_in_the_folder_is_not_followed(folder, tmp_path):
    precious = write(tmp_path / "precious", "text")
    folder.mkdir()
    (folder / "0.0").symlink_to(precious)
    with pytest.raises(UserError, match="Too many levels of symbolic links"), leased(["0"]):
        pass
    assert precious.read_text() == "text"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_named(monkeypatch, folder, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lease.fcntl, "flock", flock)
    with pytest.raises(
        UserError, match=rf"{re.escape(str(folder))}.*{os.strerror(number)}.*\$ABLATIONS_LEASES"
    ):
        leased(["0"]).__enter__()
    assert not lease.held


def test_a_folder_that_cannot_be_made_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ABLATIONS_LEASES", str(tmp_path / "no" / "such"))
    with pytest.raises(UserError, match="no/such"):
        leased(["0"]).__enter__()


def test_the_module_imports_no_torch(start):
    job = start(
        "import ablations.training.lease, sys; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    assert job.communicate(timeout=10)[0] == "[]\n"
