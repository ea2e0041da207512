"""An image folder, or an archive of one: what lies in it, then its images one by one. Nothing is unpacked, no link is
followed, and a name in an archive is only ever a name.

The layout is <class>/<image>, or train/<class>/<image> and test/<class>/<image>; folders around all of it do not matter.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal, Protocol

from ablations.decoding import FILE_BYTES
from ablations.errors import UserError
from ablations.files import readable, told

ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
LONGEST, DEEPEST = 4096, 32  # path: characters, folders
HEADERS = 2**22  # bytes that may stand between the files of a tar archive
LAYOUT = "<class>/<image>, or train/<class>/<image> and test/<class>/<image>"


@dataclass(frozen=True)
class Entry:
    """A file, folder or other thing in a folder or archive, by its path there."""

    path: str
    kind: Literal["file", "folder", "link", "special file"]


class Container(Protocol):
    """A folder or an archive."""

    def entries(self) -> Iterator[Entry]:
        """What is in it. UserError where it cannot be read."""

    def contents(self, paths: Mapping[str, object]) -> Iterator[tuple[str, bytes]]:
        """Path and content of these files, a byte more than FILE_BYTES at most, in the order that is quick. UserError
        where one cannot be read."""


@dataclass(frozen=True)
class Found:
    """The images of a folder or archive: for each, sorted, (class, file) or (part, class, file) and its path there.
    And how many files were left out why."""

    container: Container
    images: dict[tuple[str, ...], str]
    left_out: Counter[str]


def survey(path: Path) -> Found:
    """What images lie in a folder or archive. UserError where it is none, cannot be read, has another layout, or holds
    links, special files, the same path twice or one that leads out of it."""
    container = open_container(path)
    images: dict[tuple[str, ...], str] = {}
    folders: set[tuple[str, ...]] = set()
    left_out: Counter[str] = Counter()
    for entry in container.entries():
        parts = tuple(part for part in entry.path.split("/") if part not in ("", "."))
        if not parts:
            continue
        where = f"{path}: {told(entry.path)}"
        if len(entry.path) > LONGEST or len(parts) > DEEPEST:
            raise UserError(f"{where}: this path has more than {LONGEST} characters or {DEEPEST} folders")
        if entry.path.startswith("/") or ".." in parts:
            raise UserError(f"{where}: this path leads out of the archive; pack it with paths inside")
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            left_out["left out (hidden)"] += entry.kind != "folder"
        elif entry.kind == "folder":
            folders.add(parts)
        elif entry.kind != "file":
            raise UserError(f"{where}: a {entry.kind}, which is not followed; put the image itself there")
        elif PurePosixPath(parts[-1]).suffix.lower() not in ENDINGS:
            left_out["left out (no image ending)"] += 1
        elif parts in images:
            raise UserError(f"{where}: twice in the archive")
        else:
            images[parts] = entry.path
    if not images:
        raise UserError(f"{path}: no images in it, which would end in {', '.join(sorted(ENDINGS))}")
    filled = {parts[:depth] for parts in images for depth in range(len(parts))}
    left_out["left out (folder without images)"] = len(folders - filled)
    return Found(container, in_layout(path, dict(sorted(images.items()))), +left_out)


def in_layout(path: Path, images: dict[tuple[str, ...], str]) -> dict[tuple[str, ...], str]:
    """The images without the folders around all of them. UserError where one does not fit the layout."""
    while min(map(len, images)) > 2 and len({parts[0] for parts in images}) == 1:
        images = {parts[1:]: inside for parts, inside in images.items()}
    depth = 3 if {parts[0] for parts in images} == {"train", "test"} else 2
    if wrong := [inside for parts, inside in images.items() if len(parts) != depth]:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(f"{path}: {told(wrong[0])}{more}: not in its place; expected {LAYOUT}")
    return images


def open_container(path: Path) -> Container:
    """A folder or archive, by the ending of its name. UserError where there is none."""
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        for endings, kind in (((".zip",), Zip), ((".tar", ".tar.gz", ".tgz"), Tar)):
            if path.name.lower().endswith(endings):
                return kind(path)
    found = "another file" if path.is_file() else "nothing"
    raise UserError(f"{path}: expected a folder, .zip, .tar, .tar.gz or .tgz, found {found}")


# ------------------------------------------------------------------------------------------ containers


@dataclass(frozen=True)
class Folder:
    """A folder on disk."""

    path: Path

    def entries(self) -> Iterator[Entry]:
        """As in Container."""
        waiting = [""]
        with readable(self.path, "folder"):
            while waiting:
                inside = waiting.pop()
                with os.scandir(self.path / inside) as found:
                    for each in found:
                        yield (entry := Entry(inside + each.name, kind_on_disk(each)))
                        if entry.kind == "folder":
                            waiting.append(f"{entry.path}/")

    def contents(self, paths: Mapping[str, object]) -> Iterator[tuple[str, bytes]]:
        """As in Container."""
        with readable(self.path, "folder"):
            for path in paths:
                with (self.path / path).open("rb") as file:
                    yield path, file.read(FILE_BYTES + 1)


def kind_on_disk(entry: os.DirEntry) -> str:
    """What an entry of a folder is, itself and not what a link points to."""
    if entry.is_symlink():
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "file" if entry.is_file(follow_symlinks=False) else "special file"


@dataclass(frozen=True)
class Zip:
    """A .zip archive."""

    path: Path

    def entries(self) -> Iterator[Entry]:
        """As in Container."""
        with readable(self.path, "zip archive"), zipfile.ZipFile(self.path) as archive:
            for member in archive.infolist():
                if member.flag_bits & 1:
                    raise UserError(f"{self.path}: {told(member.filename)}: encrypted; pack it without")
                link = stat.S_ISLNK(member.external_attr >> 16)
                yield Entry(member.filename, "link" if link else "folder" if member.is_dir() else "file")

    def contents(self, paths: Mapping[str, object]) -> Iterator[tuple[str, bytes]]:
        """As in Container."""
        with readable(self.path, "zip archive"), zipfile.ZipFile(self.path) as archive:
            for path in paths:
                with archive.open(path) as file:
                    yield path, file.read(FILE_BYTES + 1)


@dataclass(frozen=True)
class Tar:
    """A .tar archive, or one compressed with gzip, read from front to back."""

    path: Path

    def members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        """Each member, while the archive stands at it."""
        opening = open if self.path.suffix.lower() == ".tar" else gzip.open
        with readable(self.path, "tar archive"), opening(self.path, "rb") as file:
            stream = Metered(file)
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=Member) as archive:
                while (member := archive.next()) is not None:
                    if member.size > FILE_BYTES:
                        much = f"more than {FILE_BYTES:,} bytes, the most that is read of a file"
                        raise UserError(f"{self.path}: {told(member.name)}: {much}")
                    stream.left = member.size + HEADERS
                    yield archive, member
                    archive.members.clear()  # they add up
            while stream.read(2**16):  # to where gzip has its checksum
                pass

    def entries(self) -> Iterator[Entry]:
        """As in Container."""
        for _, member in self.members():
            kind = "folder" if member.isdir() else "file" if member.isreg() else "special file"
            yield Entry(member.name, "link" if member.issym() or member.islnk() else kind)

    def contents(self, paths: Mapping[str, object]) -> Iterator[tuple[str, bytes]]:
        """As in Container."""
        for archive, member in self.members():
            if member.name in paths:
                with readable(self.path, "tar archive"):
                    content = archive.extractfile(member).read()
                yield member.name, content


class Member(tarfile.TarInfo):
    """A member whose header is damaged, or missing at the end, is an error; tarfile takes it as the archive's end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {archive.offset}") from None


class Metered:
    """A file that gives no more than it may from one member of an archive to the next: headers have no limit of their
    own, and tarfile holds them in memory."""

    def __init__(self, file: IO[bytes]):
        self.file, self.left = file, HEADERS

    def read(self, size: int) -> bytes:
        self.left -= size
        if self.left < 0:
            raise tarfile.ReadError(f"more than {HEADERS:,} bytes between files")
        return self.file.read(size)
