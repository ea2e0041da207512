"""Who is at work on a suite: one Snakemake at a time, which keeps a lock on results/<suite>/owner.json for as long as
it lives. No torch.

Snakemake's own locks are left behind where it is killed, and do not say by whom. Here the kernel tells whether the
owner lives; where the file system has no locks, its process number does, on the same machine."""

from __future__ import annotations

import atexit
import json
import os
import socket
import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from ablations import layout
from ablations.errors import UserError
from ablations.files import json_bytes
from ablations.locks import WITHOUT_LOCKS, Busy, take

SNAKEMAKES_LOCKS = Path(".snakemake") / "locks"


@dataclass(frozen=True)
class Owner:
    """A Snakemake that is, or was, at work on a suite."""

    process: int
    host: str
    since: str
    command: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}: {self.command}"

    def lives(self) -> bool:
        """Whether another process may still be at work, by its number; on another machine nobody can tell."""
        if self.host != socket.gethostname():
            return True
        if self.process == os.getpid():
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True


def occupy(suite: str) -> None:
    """Make this process the owner of a suite until it ends, and clear what a killed one has left of Snakemake's locks.
    UserError where another one lives."""
    path, file = layout.owner(suite), None
    try:
        file = take(path)
    except Busy:
        raise occupied(suite, read(path)) from None
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
    last = read(path)
    if last and file is None and last.lives():
        raise occupied(suite, last, f"; if it is gone, delete {path}")
    if last and last.host != socket.gethostname():
        raise UserError(
            f"suite {suite} was last worked on by {last}, and that did not say that it has ended. Whether it has cannot "
            f"be seen from this machine: some file systems lock on one only. If it has, delete {path}"
        )
    clear_locks(suite, last)
    since = datetime.now().astimezone().isoformat(" ", "seconds")
    owner = Owner(os.getpid(), socket.gethostname(), since, command())
    path.write_bytes(json_bytes(asdict(owner)))
    atexit.register(release, path, owner, file)


def release(path: Path, owner: Owner, file: object) -> None:
    """Say that the owner has ended; `file` is its lock, held until here. A forked child is no owner, nor is a process
    whose file was deleted and taken by another one."""
    if os.getpid() == owner.process and read(path) == owner:
        path.unlink(missing_ok=True)


def occupied(suite: str, owner: Owner | None, remedy: str = "") -> UserError:
    """What is said to the second one."""
    who = str(owner) if owner else "another process, which has not said yet which"
    return UserError(
        f"suite {suite} is being worked on by {who}. Wait for it to end, or stop it, or work in another folder{remedy}"
    )


def read(path: Path) -> Owner | None:
    """The owner that a file tells; None where it tells none."""
    try:
        return Owner(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def clear_locks(suite: str, last: Owner | None) -> None:
    """Remove Snakemake's locks that no process owns any more: those on files of this suite, and where nobody is at work
    on another suite here, all of them, since suites share their data."""
    own = layout.owner(suite)
    others = any(at_work(path) for path in own.parents[1].glob(f"*/{own.name}") if path != own)
    folders = tuple(f"{folder / suite}/" for folder in (layout.RESULTS, layout.REPORT))
    stale = [
        lock
        for lock in sorted(SNAKEMAKES_LOCKS.glob("*.lock"))
        if not others or any(line.startswith(folders) for line in lines_of(lock))
    ]
    for lock in stale:
        lock.unlink(missing_ok=True)
    if stale:
        who = f" ({last})" if last else ""
        on = f" on suite {suite}" if last else ""
        print(
            f"The last Snakemake{on} was killed{who}. Its locks are removed; what it had begun goes on.",
            file=sys.stderr,
        )


def at_work(path: Path) -> bool:
    """Whether the owner that the file of another suite tells of may live; the kernel decides where it can."""
    owner = read(path)
    if owner and owner.host != socket.gethostname():
        return True
    if owner and not owner.lives():
        return False
    try:
        take(path).close()
    except (Busy, OSError):
        return True
    return False


def lines_of(path: Path) -> list[str]:
    """The lines of a file; none where it has gone meanwhile."""
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


def command() -> str:
    """How this process was called, as typed."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
