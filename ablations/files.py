"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablations.errors import UserError


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


@contextlib.contextmanager
def readable(path: Path, kind: str) -> Iterator[None]:
    """UserError for whatever goes wrong while a library reads a file that may hold anything."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # they answer damage with nearly every kind of exception
        raise UserError(
            f"{path}: not a readable {kind}: {told(str(error) or type(error).__name__)}"
        ) from None


def told(name: str) -> str:
    """The name of a stranger's file for a message: in one line, and cut where it is long."""
    name = name if name.isprintable() else ascii(name)[1:-1]
    return name if len(name) <= 200 else f"{name[:100]}...{name[-90:]}"
