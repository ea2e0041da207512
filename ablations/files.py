"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, moved there when the block ends well and removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all."""
    write_bytes(path, text.encode())


def json_bytes(content: Any) -> bytes:
    """JSON for people to read. ValueError for NaN and infinity."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other processes of this machine that ask for the same from a folder, made where it is not there."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), folder.stat()):
                break
        os.close(held)  # it was removed meanwhile
    try:
        yield
    finally:
        os.close(held)


def set_aside(path: Path, why: str) -> Path:
    """Move a file or folder that cannot be used to a name of its own beside it, and say so. Its new path."""
    aside = next(
        candidate
        for number in itertools.count(1)
        if not (candidate := path.with_name(f"{path.name}.damaged-{number}")).exists()
    )
    path.replace(aside)
    print(f"{path}: {why}; set aside as {aside.name}", flush=True)
    return aside
