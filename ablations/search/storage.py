"""Where the trials of searches are kept: a journal file of one machine, or any database that Optuna takes, for
several. Workers that are gone are told by a file that each holds locked, on a database by its heartbeat."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import (
    BaseStorage,
    JournalStorage,
    RDBStorage,
    RetryHeartbeatStaleTrialCallback,
)
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from ablations import layout
from ablations.errors import UserError

ADDRESS = "ABLATIONS_STORAGE"  # of the database; may hold a password, and is never shown
HEARTBEAT, GRACE = 30, 120  # seconds between signs of life, and without one until a worker counts as gone


def open_storage(suite: str) -> BaseStorage:
    """The storage of a suite's searches. UserError where the database cannot be reached."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    address = os.environ.get(ADDRESS)
    if address:
        return database(address)
    path = layout.journal(suite)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileSymlinkLock(str(path))
    mend(path, lock)
    return JournalStorage(JournalFileBackend(str(path), lock))


def database(address: str) -> RDBStorage:
    """A database that several machines share. UserError, without the password, where it cannot be reached."""
    import sqlalchemy

    try:
        shown = sqlalchemy.engine.make_url(address).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        raise UserError(
            f"${ADDRESS}: not the address of a database; one is postgresql+psycopg://user@host/name"
        ) from None
    try:
        return RDBStorage(
            address,
            heartbeat_interval=HEARTBEAT,
            grace_period=GRACE,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
        )
    except ImportError as error:
        raise UserError(f"{shown}: {error}; for PostgreSQL: pip install 'ablations[postgresql]'") from None
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        password = sqlalchemy.engine.make_url(address).password
        if password:
            reason = reason.replace(str(password), "***")
        raise UserError(f"{shown}: cannot be used ({reason})") from None


def mend(path: Path, lock: JournalFileSymlinkLock) -> None:
    """Cut off the line of a journal that a killed process left half-written: the next one would be appended to it,
    and no one could read on."""
    if not path.is_file():
        return
    lock.acquire()
    try:
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(path, whole)
    finally:
        lock.release()


# ------------------------------------------------------------------------------------------ who is alive


@contextmanager
def alive(suite: str) -> Iterator[str]:
    """A name for this worker, and a sign that it lives: a file that it holds locked, which the kernel frees however
    it ends."""
    name = uuid.uuid4().hex
    path = sign_of_life(suite, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield name
        path.unlink()


def is_gone(suite: str, name: str) -> bool:
    """Whether a worker of this machine has ended."""
    path = sign_of_life(suite, name)
    try:
        with path.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    path.unlink(missing_ok=True)
    return True


def sign_of_life(suite: str, name: str) -> Path:
    """The file of a worker."""
    return layout.journal(suite).parent / "workers" / name
