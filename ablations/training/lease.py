"""The GPU of a training process: one slot of one visible device, leased for the life of the process.

Snakemake counts `resources: gpu` but hands out no device (snakemake issue 281), so jobs side by side would
all use device 0. Here each takes one of `devices x runs_per_gpu` slots. A slot is a lock file that its holder
has locked with flock(2): the kernel frees it when the holder is gone, however it died, so there is no daemon
and nothing to clean up. The files stay; what they say of their last holder counts only while they are locked.

A device is called what CUDA_VISIBLE_DEVICES calls it: a UUID (`GPU-...`, `MIG-...`), or its index where
nvidia-smi cannot tell the UUID. The lock file carries that name, so processes that see a device under
different indices share its slots. Take the lease before anything asks torch about CUDA: the driver reads
CUDA_VISIBLE_DEVICES only once.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from ablations import gpus
from ablations.errors import UserError
from ablations.progress import duration

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Where the lock files lie unless $ABLATIONS_LEASES names a folder. Not $TMPDIR: it differs between users and
# jobs, who would then not see each other's leases.
FOLDER = Path("/", "tmp", "ablations-gpus")
# How long to wait for a slot, in seconds. A job of the largest suite takes hours: what is not free after a
# day is stuck or someone else's, and a workflow that runs unattended has to end and say so.
WAIT = 24 * 3600.0
LOOK_EVERY = 0.25
TELL_EVERY = 30.0


# ---------------------------------------------------------------------------------------- which devices


def visible_devices(choice: str = "auto") -> list[str]:
    """The devices that `--device` allows a process to lease, of those that it can see.

    `auto` and `cuda` allow all, `cuda:N` the Nth, and anything else none. CUDA_VISIBLE_DEVICES is read as
    CUDA reads it: only what precedes the first entry that names no device (CUDA programming guide,
    environment variables). Indices count in nvidia-smi's order, whatever CUDA_DEVICE_ORDER says: all
    processes agree on it. UserError where there are devices, but no Nth.
    """
    numbered = re.fullmatch(r"cuda:([0-9]+)", choice)
    if choice not in ("auto", "cuda") and numbered is None:
        return []
    machine = gpus_listed(nvidia_smi())
    outer = os.environ.get(VISIBLE)
    names = outer.split(",") if outer is not None else list(machine) or map(str, range(gpus.visible()))
    devices: dict[str, None] = {}
    for name in names:
        meant = devices_meant(name.strip(), machine)
        if not meant:
            break
        devices.update(dict.fromkeys(meant))
    if numbered is None or not devices:
        return list(devices)
    number = int(numbered[1])
    if number >= len(devices):
        raise UserError(f"device {choice} asked for, but only {len(devices)} visible: {', '.join(devices)}")
    return [list(devices)[number]]


def devices_meant(name: str, machine: dict[str, list[str]]) -> list[str]:
    """What an entry of CUDA_VISIBLE_DEVICES names: an index, a UUID or its beginning. Nothing if invalid."""
    if name.startswith("MIG-"):
        return [name]
    if not machine:
        return [name] if re.fullmatch(r"0|[1-9][0-9]*|GPU-.+", name) else []
    if re.fullmatch("[0-9]+", name):
        found = list(machine)[int(name) : int(name) + 1]
    else:
        found = [uuid for uuid in machine if name.startswith("GPU-") and uuid.startswith(name)]
    return machine[found[0]] if len(found) == 1 else []


def gpus_listed(text: str) -> dict[str, list[str]]:
    """The GPUs that `nvidia-smi -L` lists, by UUID, each with the devices to lease in its place.

    That is the GPU itself, or, where it is partitioned, its MIG instances: a process uses one of them, and
    always the first if it only names the GPU (NVIDIA MIG user guide, device enumeration).
    """
    machine: dict[str, list[str]] = {}
    for kind, uuid in re.findall(r"^\s*(GPU|MIG) .*\(UUID: *(\S+)\)\s*$", text, re.MULTILINE):
        if kind == "GPU":
            machine[uuid] = instances = []
        else:
            instances.append(uuid)
    return {uuid: instances or [uuid] for uuid, instances in machine.items()}


def nvidia_smi() -> str:
    """What `nvidia-smi -L` lists, nothing where there is no such program or it fails.

    Unlike /proc it knows which devices a container or a Slurm job may use, and so what an index means there.
    """
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=120)
    except OSError:
        return ""
    except subprocess.TimeoutExpired:
        raise UserError(
            "nvidia-smi has not answered for 2 min: the GPU driver hangs; try --device cpu"
        ) from None
    return done.stdout if done.returncode == 0 else ""


# ------------------------------------------------------------------------------------------- the lease


@contextmanager
def leased(
    devices: Sequence[str],
    runs_per_gpu: int = 1,
    wait: float = WAIT,
    tell: Callable[[str], None] = lambda line: print(line, flush=True),
) -> Iterator[str | None]:
    """Hold a slot of the least loaded device, the first of equals, and make that device the only visible one.

    Without devices there is nothing to hold: None. Where all slots are taken, wait up to `wait` seconds and
    tell who holds them, at once and every half minute; then UserError.
    """
    if not devices:
        yield None
        return
    device, lock = wait_for_slot(devices, runs_per_gpu, wait, tell)
    held.add(lock)
    outer = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = device
    try:
        yield device
    finally:
        held.discard(lock)
        lock.close()
        if outer is None:
            os.environ.pop(VISIBLE, None)
        else:
            os.environ[VISIBLE] = outer


def wait_for_slot(
    devices: Sequence[str], runs_per_gpu: int, wait: float, tell: Callable[[str], None]
) -> tuple[str, FileIO]:
    """A device and the lock of a slot of it, as soon as there is one."""
    started, told = time.monotonic(), -TELL_EVERY
    while (slot := take_slot(devices, runs_per_gpu)) is None:
        waited = time.monotonic() - started
        if waited >= wait:
            raise UserError(
                f"no GPU was free for {duration(wait)}: {holders(devices)}."
                " Try again later, let more runs share a GPU, or train with --device cpu"
            )
        if waited - told >= TELL_EVERY:
            tell(f"waiting for a GPU, {duration(waited)} so far: {holders(devices)}")
            told = waited
        time.sleep(min(LOOK_EVERY, wait - waited))
    if told >= 0:
        tell(f"got {slot[0]} after {duration(time.monotonic() - started)}")
    return slot


def take_slot(devices: Sequence[str], runs_per_gpu: int) -> tuple[str, FileIO] | None:
    """A device and the lock of a slot of it; None where every device has its `runs_per_gpu` runs."""
    with gate() as folder:
        taken = {device: slots_taken(folder, device) for device in devices}
        device = min(devices, key=lambda device: len(taken[device]))
        if len(taken[device]) >= runs_per_gpu:
            return None
        slot = next(slot for slot in range(runs_per_gpu) if slot not in taken[device])
        lock = try_lock(folder / f"{lock_name(device)}.{slot}")
        if lock is None:
            return None
        lock.truncate(0)
        lock.write(f"pid {os.getpid()}, user {user()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        return device, lock


def holders(devices: Sequence[str]) -> str:
    """Who holds slots of the devices, in words."""
    with gate() as folder:
        taken = [(device, path) for device in devices for path in slots_taken(folder, device).values()]
        return "; ".join(f"{device} held by {first_words(path)}" for device, path in taken)


def slots_taken(folder: Path, device: str) -> dict[int, Path]:
    """The slots of a device that someone holds, also beyond our `runs_per_gpu`: others may allow more."""
    found = {path.suffix[1:]: path for path in sorted(folder.glob(f"{lock_name(device)}.*"))}
    return {int(slot): path for slot, path in found.items() if slot.isdecimal() and is_locked(path)}


def lock_name(device: str) -> str:
    """What the lock files of a device are called.

    In a Slurm job that was given devices they are the job's own. So the lease divides what Slurm gave to the
    job among its processes (several Snakemake jobs in one allocation would collide, on one device as on many)
    and never disputes what Slurm gave to another job, which may share the device by its will (shards, MPS).
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job and any(os.environ.get(name) for name in (VISIBLE, "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")):
        device = f"slurm-{job}-{device}"
    return re.sub(r"[^\w-]", "_", device)


def user() -> str:
    """The user's name; the number where it has none, as in some containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def first_words(path: Path) -> str:
    """What a lock file says of its holder. Anyone can write there: nothing that moves a terminal's cursor."""
    text = path.read_bytes()[:100].decode("utf-8", "replace")
    return "".join(letter for letter in text if letter.isprintable())


# -------------------------------------------------------------------------------------- locks and files


@contextmanager
def gate() -> Iterator[Path]:
    """The folder of the lock files, for one process at a time: none takes a slot while another compares.

    The folder and its files are for all users, whatever the umask. UserError where they cannot be used.
    """
    folder = Path(os.environ.get("ABLATIONS_LEASES") or FOLDER)
    try:
        with without_umask():
            folder.mkdir(mode=0o1777, exist_ok=True)
        with open_for_all(folder / "gate") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    except OSError as error:
        raise UserError(
            f"the GPUs of this machine are shared out by lock files in {folder}, which fails: {error}."
            " Name another in $ABLATIONS_LEASES: on a local disk, the same for all users, for all to write"
        ) from None


def try_lock(path: Path) -> FileIO | None:
    """The lock of a file, held until it is closed; None where someone has it."""
    lock = open_for_all(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    except OSError:
        lock.close()
        raise
    return lock


def is_locked(path: Path) -> bool:
    """Whether someone holds the lock of a file."""
    lock = try_lock(path)
    if lock is not None:
        lock.close()
    return lock is None


def open_for_all(path: Path) -> FileIO:
    """A file that every user may lock, made where it is missing.

    In two steps: in a folder for all, the kernel refuses O_CREAT on another user's file
    (fs.protected_regular). O_NOFOLLOW: or another user's link could have us write to a file of our own.
    """
    while True:
        with suppress(FileNotFoundError):
            return FileIO(os.open(path, os.O_RDWR | os.O_NOFOLLOW), "r+")
        with suppress(FileExistsError), without_umask():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))


@contextmanager
def without_umask() -> Iterator[None]:
    """New files and folders get the very mode that is asked for, from their first moment."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


# ------------------------------------------------------------------------- who keeps the lock beside us

# A lock belongs to every process that has the open file. Python opens files close-on-exec, so programs that
# the holder starts do not get it, and forked children close it: a child that outlives it keeps no slot.
held: set[FileIO] = set()


def let_go() -> None:
    """Close the locks of the parent in a forked child; the parent keeps them."""
    while held:
        held.pop().close()


os.register_at_fork(after_in_child=let_go)
