"""Locks on files, which the kernel frees when their holder ends, however it dies. No torch.

Some network file systems have none: there nothing is locked. What two processes then do at once is done twice and
written whole by each.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

# What flock(2) answers where a file system has no locks.
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
PAUSE = 0.1  # seconds between two looks at a lock that another process holds


class Busy(Exception):
    """Another process holds the lock."""


def take(path: Path) -> FileIO:
    """The file at `path`, made where it is missing, locked until it is closed. Raises Busy where another process holds
    it, OSError with one of WITHOUT_LOCKS where the file system has no locks."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+")  # for writing: NFS locks no other
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass  # its last holder removed it meanwhile
        except BlockingIOError:
            file.close()
            raise Busy(path) from None
        except OSError:
            file.close()
            raise
        file.close()


# Those that this process holds through `alone`.
held: set[Path] = set()


@contextmanager
def alone(path: Path, waiting: str, meanwhile: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep other processes from what the lock file at `path` stands for; says `waiting` where one of them is at it, and
    calls `meanwhile` until it is not, which may raise what ends the wait. Within the process it may be entered again."""
    if path in held:
        yield
        return
    file, told = None, False
    while file is None:
        try:
            file = take(path)
        except Busy:
            if not told:
                print(waiting, flush=True)
            told = True
            meanwhile()
            time.sleep(PAUSE)
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
            break
    held.add(path)
    try:
        yield
    finally:
        held.discard(path)
        if file is not None:
            path.unlink(missing_ok=True)
            file.close()
