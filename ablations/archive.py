"""One file that holds the results of a suite: a gzipped tar of manifest.json, SHA256SUMS over every other member and the
manifest, and the files that the manifest lists, in its order, all below one folder. It is read as a stream, a member at
a time, and the first thing in it that is not what the manifest says comes next, by name, kind, size and SHA-256, ends
it: no name in it is ever taken as a path, and it cannot unpack to more than it declares. No torch."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator

from ablations.errors import UserError
from ablations.files import atomic
from ablations.progress import Share
from ablations.schema import Sequence, Strict, fault, shown, validate
from ablations.store import SUMS, read_sums, sums_text

FORMAT = 1  # raised when archives of before can no longer be read as they are now
MANIFEST = "manifest.json"
RUNS = "results/runs"  # the folder of the runs, as in a store
# What an archive may hold. A larger one is refused before it is unpacked.
MANIFEST_BYTES = 32 << 20  # of the manifest, and of SHA256SUMS
FILE_BYTES = 1 << 30
ARCHIVE_BYTES = 1 << 30  # of everything unpacked, or
RATIO = 100  # times the size of the archive, whichever is more

# Of tar: what a member is filled up to, and the most zeros at the end: two blocks, and those that fill up the last record.
BLOCK, END = tarfile.BLOCKSIZE, 2 * tarfile.BLOCKSIZE + tarfile.RECORDSIZE


def printed(text: str) -> str:
    """ValueError for what is not to be shown on a terminal."""
    if text != printable(text):
        raise ValueError("expected plain text")
    return text


Text = Annotated[str, AfterValidator(printed)]


class Member(Strict):
    """A file in an archive: its place, and its size in bytes."""

    name: str
    size: Annotated[int, Field(ge=0, le=FILE_BYTES)]

    @field_validator("name")
    @classmethod
    def stays_below(cls, name: str) -> str:
        path = PurePosixPath(name)
        if (
            path.is_absolute()
            or str(path) != name
            or ".." in path.parts
            or not name.isprintable()
            or "\\" in name
        ):
            raise ValueError("expected a plain path below the archive's folder")
        return name


class ExportedRun(Strict):
    """A run in an archive."""

    id: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    arm: Text  # its id
    network: Text
    seed: int
    studies: Sequence(Text)
    fingerprint: Text  # of the prepared data


class ExportedData(Strict):
    """Prepared data that runs in an archive were trained on; the images are not in it."""

    key: Annotated[str, Field(pattern="^[a-z0-9_-]+$")]
    fingerprint: Text


class Where(Strict):
    """What some runs in an archive were trained with, and how many."""

    runs: int
    device: Text | None
    threads: int | None
    torch: Text | None
    python: Text | None
    packages: Text | None


class Manifest(Strict):
    """What an archive says of itself."""

    format: Literal[FORMAT]
    package: Text  # version of this package
    engine: int
    preparation: int
    created: Text  # UTC
    suite: Annotated[str, Field(pattern="^[a-z0-9_-]+$")]
    studies: Sequence(Text)
    weights: bool
    environments: Sequence(Where)
    data: Sequence(ExportedData)
    runs: Sequence(ExportedRun)
    files: Sequence(Member)

    @field_validator("files")
    @classmethod
    def each_once(cls, files: tuple[Member, ...]) -> tuple[Member, ...]:
        names = {member.name for member in files} | {MANIFEST, SUMS}
        if len(names) < len(files) + 2:
            raise ValueError("a file is listed twice")
        return files


# ------------------------------------------------------------------------------------------ writing


@dataclass(frozen=True)
class Source:
    """A file to pack, and how to read it."""

    name: str
    read: Callable[[], bytes]


def pack(path: Path, about: dict[str, Any], sources: list[Source], created: int) -> Manifest:
    """Write an archive of files in the order of their names, whole or not at all; `about` is the manifest without them,
    `created` its time in seconds since 1970. UserError where a file is too large, or changes meanwhile."""
    sources = sorted(sources, key=lambda source: source.name)
    digests, members, read = {}, [], Share(f"{path}: reading", len(sources))
    for source in sources:
        content = source.read()
        if len(content) > FILE_BYTES:
            raise UserError(
                f"{source.name}: {megabytes(len(content))}; an archive takes {megabytes(FILE_BYTES)} a file"
            )
        digests[source.name] = digest_of(content)
        members.append({"name": source.name, "size": len(content)})
        read.add(1)
    manifest = validate(Manifest, {**about, "files": members}, path)
    head = (manifest.model_dump_json(indent=1) + "\n").encode()
    sums = sums_text({MANIFEST: digest_of(head), **digests}).encode()
    if len(head) > MANIFEST_BYTES:
        raise UserError(
            f"{path}: {len(manifest.runs):,} runs are too many for an archive; export study by study"
        )
    packed = Share(f"{path}: packing", len(sources))
    with (
        atomic(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, created) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, content in ((MANIFEST, head), (SUMS, sums)):
            put(tar, f"{manifest.suite}/{name}", content, created)
        for source in sources:
            content = source.read()
            if digest_of(content) != digests[source.name]:
                raise UserError(f"{source.name}: changed while it was packed; run the command again")
            put(tar, f"{manifest.suite}/{source.name}", content, created)
            packed.add(1)
    return manifest


def put(tar: tarfile.TarFile, name: str, content: bytes, created: int) -> None:
    """Append a member, without owner. UserError where its name is too long."""
    header = tarfile.TarInfo(name)
    header.size, header.mtime = len(content), created
    try:
        tar.addfile(header, io.BytesIO(content))
    except ValueError as error:
        raise UserError(f"{name}: {error} for an archive") from None


# ------------------------------------------------------------------------------------------ reading


class Archive:
    """An archive that is what its manifest says, to the last byte. UserError where it is not: nothing of it can be
    used then."""

    def __init__(self, path: Path):
        self.path = path
        with self.stream() as stream:
            self.manifest = stream.manifest
        for _ in self.members("checking"):
            pass

    def members(self, doing: str) -> Iterator[tuple[str, bytes]]:
        """The files that the manifest lists, by name, each checked before it is given away."""
        with self.stream() as stream:
            if stream.manifest != self.manifest:
                raise Unusable("it was changed while it was read")
            told = Share(f"{self.path}: {doing}", sum(member.size for member in stream.manifest.files))
            for member in stream.manifest.files:
                content = stream.member(member.name, member.size)
                if digest_of(content) != stream.digests[member.name]:
                    raise Unusable(f"{member.name} does not match {SUMS}")
                told.add(member.size)
                yield member.name, content
            stream.end()

    @contextmanager
    def stream(self) -> Iterator[Stream]:
        """Its content from the beginning, the manifest read and checked."""
        if self.path.exists() and not self.path.is_file():  # a pipe would be waited for
            raise UserError(f"{self.path}: no file; give an archive that `ablations export` has written")
        try:
            with gzip.open(self.path, "rb") as file:
                yield Stream(file, self.path.stat().st_size)
        except FileNotFoundError:
            raise UserError(f"{self.path}: no such file") from None
        except EOFError:
            raise self.refused("it is cut off") from None
        except (Unusable, gzip.BadGzipFile, zlib.error, tarfile.HeaderError) as error:
            raise self.refused(str(error)) from None

    def refused(self, why: str) -> UserError:
        """What is said of it where it cannot be used."""
        return UserError(
            f"{self.path}: damaged, or not an archive as `ablations export` writes it: {printable(why)}"
        )


class Unusable(Exception):
    """Why an archive cannot be used."""


class Stream:
    """The content of an archive, unpacked as it is read."""

    def __init__(self, file: gzip.GzipFile, packed: int):
        """`packed`: the size of the archive in bytes."""
        self.file, self.folder = file, ""
        head = self.member(MANIFEST, None)
        self.manifest = read_manifest(head)
        if self.folder != f"{self.manifest.suite}/":
            raise Unusable(f"it is of suite {self.manifest.suite}, in a folder {shown(self.folder)}")
        size, most = sum(member.size for member in self.manifest.files), max(ARCHIVE_BYTES, RATIO * packed)
        if size > most:
            raise Unusable(f"it unpacks to {megabytes(size)}; one of its size may hold {megabytes(most)}")
        try:
            self.digests = read_sums(self.member(SUMS, None).decode())
        except ValueError:
            raise Unusable(f"{SUMS} is no list of checksums") from None
        if list(self.digests) != [MANIFEST, *(member.name for member in self.manifest.files)]:
            raise Unusable(f"{SUMS} does not list the files of {MANIFEST}")
        if digest_of(head) != self.digests[MANIFEST]:
            raise Unusable(f"{MANIFEST} does not match {SUMS}")

    def member(self, name: str, size: int | None) -> bytes:
        """The content of the next member, which has this name and size; without a size, no more than a manifest. The
        first one tells the folder of all."""
        try:
            header = tarfile.TarInfo.frombuf(self.read(BLOCK), "utf-8", "strict")
        except UnicodeDecodeError:
            raise Unusable(f"{name} is expected, found a name that is not UTF-8") from None
        if name == MANIFEST:
            self.folder = header.name.removesuffix(name)
        if header.name != self.folder + name or header.type != tarfile.REGTYPE:
            kind = "" if header.type == tarfile.REGTYPE else ", which is no plain file"
            raise Unusable(f"{name} is expected, found {shown(header.name)}{kind}")
        if not 0 <= header.size <= MANIFEST_BYTES if size is None else header.size != size:
            expected = f"{megabytes(MANIFEST_BYTES)} at most" if size is None else f"{size:,} bytes"
            raise Unusable(f"{name} has {header.size:,} bytes, expected {expected}")
        content = self.read(header.size)
        if any(self.read(-header.size % BLOCK)):
            raise Unusable(f"something is hidden behind {name}")
        return content

    def read(self, size: int) -> bytes:
        """So many bytes, no fewer."""
        content = self.file.read(size)
        if len(content) < size:
            raise EOFError
        return content

    def end(self) -> None:
        """Nothing but zeros is left, and not many; reading to the end checks what was unpacked."""
        rest = self.file.read(END + 1)
        if len(rest) > END or any(rest):
            raise Unusable("something follows the files of its manifest")
        if len(rest) < 2 * BLOCK:
            raise EOFError


def read_manifest(content: bytes) -> Manifest:
    """A manifest from its JSON. Unusable where it is none, or of a format that this version does not know."""

    class Format(Strict):
        model_config = Strict.model_config | {"extra": "ignore"}
        format: int

    try:
        if (found := Format.model_validate_json(content).format) != FORMAT:
            raise Unusable(f"its format is {found}, this version of ablations reads {FORMAT}")
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise Unusable(f"{MANIFEST}: {fault(Manifest, error.errors()[0])}") from None


def printable(text: str) -> str:
    """A text from an archive for a terminal, which it cannot command."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def digest_of(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def megabytes(size: int) -> str:
    """A size for people, in MB (10^6 bytes)."""
    return f"{size / 1e6:,.1f} MB"
