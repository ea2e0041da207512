"""A Slurm cluster of one node with two GPUs that are none, from Debian's packages, for as long as a command runs:

    apt-get install slurmctld slurmd slurm-client
    python tests/slurm_node.py sinfo

As root, since Slurm is; and only where /etc/slurm holds no configuration of another cluster, for the steps of a job look
there and nowhere else. No munge, accounts, control groups or dbus: a container will do."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CONFIGURATION = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
OURS = "# A node for tests, by tests/slurm_node.py\n"
DAEMONS = ("slurmctld", "slurmd")
NULL = os.makedev(1, 3)  # Slurm hands out files that are character devices; this one does nothing

# What is asked for need not be there (config_overrides). A job that is requeued may start again after 5 seconds, by
# default 120 (cred_expire).
SLURM = """{ours}
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={other_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
MpiDefault=none
KillWait=20
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=64000 Gres=gpu:2
PartitionName=test Nodes=ALL Default=YES
"""


def obstacle() -> str | None:
    """Why there can be no node here; None where there can."""
    if missing := [name for name in (*DAEMONS, "sbatch", "scontrol") if shutil.which(name) is None]:
        return f"no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client"
    if os.getuid() != 0:
        return "Slurm's daemons take root"
    for path in (CONFIGURATION / name for name in FILES):
        if path.exists() and not path.read_text().startswith(OURS):
            return f"{path} belongs to another cluster"
    return None


def free_ports() -> list[int]:
    """Two ports that nobody listens on."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return [one.getsockname()[1], other.getsockname()[1]]


@contextlib.contextmanager
def node(folder: Path, wait: float = 60.0) -> Iterator[None]:
    """A node with its files in a folder, while the block runs. RuntimeError where it does not come up."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    for number in range(2):
        os.mknod(folder / f"gpu{number}", 0o666 | stat.S_IFCHR, NULL)
    host, (port, other_port) = socket.gethostname().partition(".")[0], free_ports()
    slurm = SLURM.format(ours=OURS, host=host, folder=folder, port=port, other_port=other_port)
    texts = (slurm, f"{OURS}Name=gpu File={folder}/gpu[0-1]\n", OURS)
    try:
        for name, text in zip(FILES, texts, strict=True):
            (CONFIGURATION / name).write_text(text)
        for daemon in DAEMONS:
            subprocess.run([daemon], check=True, capture_output=True, timeout=wait)
        end = time.monotonic() + wait
        while "idle" not in slurm_says("sinfo", "--noheader", "--format=%t"):
            if time.monotonic() > end:
                raise RuntimeError((folder / "slurmctld.log").read_text()[-2000:])
            time.sleep(0.1)
        yield
    finally:
        stop(folder, wait)
        for name in FILES:
            (CONFIGURATION / name).unlink(missing_ok=True)


def stop(folder: Path, wait: float) -> None:
    """End all jobs and the daemons."""
    slurm_says("scancel", "--user=root")
    end = time.monotonic() + wait
    while slurm_says("squeue", "--noheader") and time.monotonic() < end:
        time.sleep(0.1)
    for daemon in reversed(DAEMONS):
        with contextlib.suppress(OSError, ValueError):
            number = int((folder / f"{daemon}.pid").read_text())
            os.kill(number, signal.SIGTERM)
            while Path(f"/proc/{number}").exists() and time.monotonic() < end:
                time.sleep(0.1)


def slurm_says(*command: str) -> str:
    """What a command of Slurm prints; nothing where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout if done.returncode == 0 else ""


if __name__ == "__main__":
    if reason := obstacle():
        sys.exit(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, node(Path(name)):
        status = subprocess.run(sys.argv[1:] or ["sinfo"]).returncode
    sys.exit(status)
