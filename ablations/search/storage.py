"""Where the trials of searches are kept: a journal file of one machine, or any database that Optuna takes, for
several. Workers that are gone are told by a file that each holds locked, on a database by its heartbeat."""

from __future__ import annotations

import fcntl
import os
import re
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from ablations import layout
from ablations.errors import UserError
from ablations.locks import WITHOUT_LOCKS
from ablations.search.address import ADDRESS, SECRETS

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

HEARTBEAT, GRACE = 30, 120  # seconds between signs of life, and without one until a worker counts as gone
TRIES = 5  # to make the tables of a database, which another machine may be making at the same time


def open_storage(suite: str) -> BaseStorage:
    """The storage of a suite's searches. UserError where the journal cannot be read, or the database be reached."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    address = os.environ.get(ADDRESS)
    if address:
        return database(address)
    path = layout.journal(suite)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return JournalStorage(JournalFileBackend(str(path), JournalLock(path)))
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: damaged ({error}); move it away, and the search begins anew") from None


# ------------------------------------------------------------------------------------------ the journal


def lock(file: BinaryIO, how: int) -> None:
    """flock(2), which the trials of a search cannot do without. UserError where the file system has none."""
    try:
        fcntl.flock(file, how)
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        raise UserError(
            f"{file.name}: this file system has no locks, so that workers cannot share the trials; keep results/ on "
            "another one, where one machine does the search"
        ) from None


class Lock:
    """A lock on a file, for one process at a time, which the kernel frees however that ends. (Optuna's own, a file
    that is there or not, is left behind by a process that is killed; the others wait half a minute then, and two of
    them may break it at once.)"""

    def __init__(self, path: Path):
        self.path, self.held = path, None

    def acquire(self) -> bool:
        """Wait for it."""
        held = self.path.open("a+b")
        lock(held, fcntl.LOCK_EX)
        self.held = held
        return True

    def release(self) -> None:
        """Let the next one have it."""
        self.held.close()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class JournalLock(Lock):
    """The lock on a journal, before each line that is written to it. A line that a killed process, or a full disk, has
    left half-written is cut off: the next one would be appended to it, and no one could read on."""

    def acquire(self) -> bool:
        super().acquire()
        os.truncate(self.path, end_of_lines(self.held))
        return True


def end_of_lines(file: BinaryIO) -> int:
    """Where the last whole line of a file ends."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return 0
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return size
    file.seek(0)
    return file.read().rfind(b"\n") + 1


# ------------------------------------------------------------------------------------------ the database


def database(address: str) -> RDBStorage:
    """A database that several machines share. UserError, without the password, where it cannot be reached."""
    import sqlalchemy

    try:
        url = sqlalchemy.engine.make_url(address)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        url = None
    if url is None or "@" in (url.host or ""):
        raise UserError(
            f"${ADDRESS}: not the address of a database; one is postgresql+psycopg://user:password@host/name, with "
            "%40 for an @ in the password, %3A for a colon, %2F for a slash"
        )
    with told_without_password():
        try:
            return connected(address)
        except ImportError as error:
            raise UserError(
                f"${ADDRESS}: {error}; for PostgreSQL: pip install 'ablations[postgresql]'"
            ) from None
        except RuntimeError as error:  # tables of another version of Optuna
            raise UserError(f"{without_secrets(url)}: {error} Or name a new database.") from None


def connected(address: str) -> RDBStorage:
    """A database with Optuna's tables in it, which are made where they are not there."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    whole = re.sub(r"[{}]", lambda brace: 2 * brace[0], address)  # Optuna takes braces for places to fill in

    def connect() -> RDBStorage:
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            return RDBStorage(
                whole,
                engine_kwargs={"pool_pre_ping": True},  # a connection may be cut while a trial trains
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
            )

    for _ in range(TRIES - 1):
        with suppress(IntegrityError, ProgrammingError):
            return connect()
        time.sleep(0.2)
    return connect()


@contextmanager
def told_without_password() -> Iterator[None]:
    """Turns what goes wrong with the database into a UserError, which has no password in it."""
    import sqlalchemy

    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error
        reason = str(getattr(cause, "orig", None) or cause).strip().partition("\n")[0]
        url = sqlalchemy.engine.make_url(os.environ[ADDRESS])
        for secret in (url.password, *map(url.query.get, SECRETS), os.environ.get("PGPASSWORD")):
            if secret:
                reason = reason.replace(str(secret), "***")
        raise UserError(f"{without_secrets(url)}: cannot be used ({reason})") from None


def without_secrets(url: URL) -> str:
    """An address, to be shown."""
    return url.set(query={}).render_as_string(hide_password=True)


# ------------------------------------------------------------------------------------------ who is alive


@contextmanager
def alive(suite: str) -> Iterator[str]:
    """A name for this worker, and a sign that it lives: a file that it holds locked, which the kernel frees however
    it ends."""
    name = uuid.uuid4().hex
    path = sign_of_life(suite, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with Lock(path):
        try:
            yield name
        finally:
            path.unlink(missing_ok=True)


def is_gone(suite: str, name: str) -> bool:
    """Whether a worker of this machine has ended."""
    path = sign_of_life(suite, name)
    try:
        with path.open("r+b") as held:  # a network file system locks no file that is open for reading only
            lock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    path.unlink(missing_ok=True)
    return True


def sign_of_life(suite: str, name: str) -> Path:
    """The file of a worker."""
    return layout.journal(suite).parent / "workers" / name


def sign(storage: BaseStorage, study: optuna.Study, trial: optuna.Trial) -> None:
    """Tell a database that the worker of a trial lives; a journal needs no telling."""
    if isinstance(storage, RDBStorage):
        of_study = storage.get_study_id_from_name(study.study_name)
        storage.record_heartbeat(storage.get_trial_id_from_study_id_trial_number(of_study, trial.number))


@contextmanager
def heartbeat(storage: BaseStorage, study: optuna.Study, trial: optuna.Trial) -> Iterator[None]:
    """Tells a database now and then that the worker of a trial lives. (Optuna's own stops for good when a connection
    is cut.)"""
    if not isinstance(storage, RDBStorage):
        yield
        return
    over = threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT):
            with suppress(Exception):  # the next one may come through
                sign(storage, study, trial)
        storage.remove_session()

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    try:
        yield
    finally:
        over.set()
        beating.join()
