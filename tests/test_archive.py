"""Archives: what is packed comes out again, and nothing else is ever read from one."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import tracemalloc

import pytest
from conftest import examples, no_longer_than, tally
from hypothesis import given
from hypothesis import strategies as st

from ablations import archive
from ablations.archive import Archive, Manifest, Source, pack
from ablations.errors import UserError
from ablations.store import SUMS

ABOUT = {
    "format": 1,
    "package": "0.1.0",
    "engine": 4,
    "preparation": 1,
    "created": "2026-01-01T00:00:00Z",
    "suite": "mine",
    "studies": ["depth"],
    "weights": False,
    "environments": [],
    "data": [],
    "runs": [],
}
FILES = {
    "results/mine/depth/runs.csv": b"a,b\n1,2\n",
    "report/mine/report.md": b"# Title\n" * 100,
    "empty": b"",
}


def packed(path, files=FILES, **about):
    pack(
        path, {**ABOUT, **about}, [Source(name, lambda c=content: c) for name, content in files.items()], 1000
    )
    return path


def member(name, content=b"", **header):
    """A tar header with its content."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in header.items():
        setattr(info, field, value)
    return info, content


def members(held=FILES, **about):
    """The members of an archive of these files, to be tampered with."""
    listed = [{"name": name, "size": len(held[name])} for name in sorted(held)]
    manifest = {**ABOUT, "files": listed, **about}
    head = json.dumps(manifest).encode()
    contents = {"manifest.json": head, **{name: held[name] for name in sorted(held)}}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())
    first = [member("mine/manifest.json", head), member("mine/SHA256SUMS", sums.encode())]
    return first + [member(f"mine/{name}", held[name]) for name in sorted(held)]


def unpacked(parts, kind=tarfile.USTAR_FORMAT):
    """A tar of some members, before it is zipped."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        for info, content in parts:
            tar.addfile(info, io.BytesIO(content) if content else None)
    return buffer.getvalue()


def forged(path, parts, kind=tarfile.USTAR_FORMAT):
    path.write_bytes(gzip.compress(unpacked(parts, kind)))
    return path


names = st.text(
    st.characters(codec="utf-8", categories=("L", "N"), include_characters=" -_."), min_size=1, max_size=30
)


@examples(25)
@given(
    files=st.dictionaries(
        names.filter(lambda n: n not in (".", "..", "manifest.json", SUMS)), st.binary(max_size=2000)
    )
)
def test_what_is_packed_comes_out(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("archive")
    found = Archive(packed(folder / "a.tar.gz", files))
    assert dict(found.members("reading")) == files
    assert [entry.name for entry in found.manifest.files] == sorted(files)


def test_however_long_the_last_file_is(tmp_path):
    """Tar fills up its last record with zeros, few or many."""
    for blocks in range(22):
        held = {"file": b"x" * (512 * blocks + 1)}
        assert dict(Archive(packed(tmp_path / "a", held)).members("reading")) == held


def test_other_programs_read_it_and_check_it(tmp_path):
    path = packed(tmp_path / "a.tar.gz")
    with tarfile.open(path) as tar:
        found = tar.getmembers()
        assert [each.name for each in found] == [
            "mine/manifest.json",
            "mine/SHA256SUMS",
            *(f"mine/{n}" for n in sorted(FILES)),
        ]
        assert {(each.uid, each.gid, each.uname, each.gname, each.mtime) for each in found} == {
            (0, 0, "", "", 1000)
        }
    subprocess.run(["tar", "xzf", path], cwd=tmp_path, check=True)
    checked = subprocess.run(
        ["sha256sum", "--check", SUMS], cwd=tmp_path / "mine", capture_output=True, text=True
    )
    assert checked.returncode == 0 and checked.stdout.count("OK") == 4


def test_the_same_content_makes_the_same_bytes_in_whatever_order_it_is_given(tmp_path):
    one = packed(tmp_path / "one").read_bytes()
    assert one == packed(tmp_path / "other", dict(reversed(FILES.items()))).read_bytes()


def test_forged_as_it_should_be_it_is_read(tmp_path):
    """Otherwise the tests below would see nothing."""
    assert dict(Archive(forged(tmp_path / "a", members())).members("reading")) == FILES


def link(kind):
    return [*members()[:2], member("mine/empty", type=kind, linkname="/etc/passwd"), *members()[3:]]


def with_file(name, content=b"x"):
    return members({**FILES, name: content})


def swapped(parts, first, second):
    parts[first], parts[second] = parts[second], parts[first]
    return parts


def resized(size):
    manifest = [
        {"name": name, "size": size if name == "empty" else len(FILES[name])} for name in sorted(FILES)
    ]
    return members(files=manifest)


def altered(number, content):
    parts = members()
    parts[number] = member(parts[number][0].name, content)
    return parts


RUN = {"arm": "a", "network": "n", "seed": 0, "studies": [], "fingerprint": "f"}
TAMPERED = {
    "path traversal": (with_file("../../outside"), "plain path below"),
    "traversal in the middle": (with_file("a/../../outside"), "plain path below"),
    "absolute path": (with_file("/tmp/outside"), "plain path below"),
    "backslashes": (with_file("..\\outside"), "plain path below"),
    "a name that commands the terminal": (with_file("\x1b[2J"), "plain path below"),
    "the manifest twice": (with_file("manifest.json"), "listed twice"),
    "symbolic link": (link(tarfile.SYMTYPE), "no plain file"),
    "hard link": (link(tarfile.LNKTYPE), "no plain file"),
    "device": (link(tarfile.CHRTYPE), "no plain file"),
    "pipe": (link(tarfile.FIFOTYPE), "no plain file"),
    "folder": (link(tarfile.DIRTYPE), "no plain file"),
    "sparse file": (link(tarfile.GNUTYPE_SPARSE), "no plain file"),
    "a file twice": ([*members(), members()[-1]], "something follows"),
    "a file that is not listed": ([*members(), member("mine/more", b"x")], "something follows"),
    "other order": (swapped(members(), 2, 3), "is expected, found"),
    "other name": ([*members()[:2], member("mine/other"), *members()[3:]], "is expected, found"),
    "other folder": ([*members()[:2], member("yours/empty"), *members()[3:]], "is expected, found"),
    "a name that is not UTF-8": ([*members()[:2], member("mine/\udcff"), *members()[3:]], "not UTF-8"),
    "a file less": (members()[:-1], "cut off|truncated|end of file"),
    "no manifest": (members()[1:], "manifest.json is expected"),
    "no checksums": ([members()[0], *members()[2:]], "SHA256SUMS is expected"),
    "manifest later": (swapped(members(), 0, 1), "manifest.json is expected"),
    "suite of another name": (members(suite="yours"), "of suite yours"),
    "manifest is no JSON": (altered(0, b"{"), "manifest.json: "),
    "manifest is a list": (altered(0, b"[]"), "manifest.json: "),
    "manifest of great depth": (altered(0, b"[" * 100_000), "manifest.json: "),
    "key missing": (altered(0, json.dumps(ABOUT).encode()), "files: missing"),
    "key unknown": (members(more=1), "more: unknown key"),
    "unknown format": (members(format=2), "its format is 2, this version of ablations reads 1"),
    "id that is none": (members(runs=[{**RUN, "id": "../../../../etc"}]), "runs.0.id"),
    "negative size": (resized(-1), "greater than or equal to 0"),
    "size beyond any": (resized(1 << 62), "less than or equal to"),
    "size of another": (resized(1), "empty has 0 bytes, expected 1 bytes"),
    "other content": (altered(4, b"c,d\n3,4\n"), "runs.csv does not match SHA256SUMS"),
    "checksums that are none": (altered(1, b"\xff\xfe"), "no list of checksums"),
    "checksums of others": (altered(1, b"0  manifest.json\n"), "does not list the files"),
    "other manifest": (altered(0, members()[0][1] + b" "), "manifest.json does not match"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_tampered_with_is_refused(tmp_path, what):
    parts, why = TAMPERED[what]
    with pytest.raises(UserError, match=why) as told:
        Archive(forged(tmp_path / "a", parts))
    assert str(told.value).count("\n") == 0 and "\x1b" not in str(told.value)


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_headers_that_would_change_what_follows_are_refused(tmp_path, kind):
    parts = members()
    parts[2][0].name = "mine/" + "long" * 80
    with pytest.raises(UserError, match="no plain file"):
        Archive(forged(tmp_path / "a", parts, kind))


def whole():
    return gzip.compress(unpacked(members()))


NOT_ARCHIVES = {
    "empty": b"",
    "text": b"hello",
    "not zipped": unpacked(members()),
    "zipped text": gzip.compress(b"hello"),
    "zipped nothing": gzip.compress(b""),
    "zipped zeros": gzip.compress(bytes(100_000)),
    "something behind": whole() + b"more",
    "another one behind": whole() + whole(),
    "zeros without end": gzip.compress(unpacked(members()) + bytes(1_000_000)),
    "hidden behind a file": gzip.compress(unpacked(members()).replace(b"1,2\n" + bytes(8), b"1,2\n" + b"secret!!")),
    "no zeros at the end": gzip.compress(unpacked(members()).rstrip(b"\0").ljust(512 * 9, b"\0")[: 512 * 9]),
}  # fmt: skip


@pytest.mark.parametrize("what", NOT_ARCHIVES)
def test_what_is_no_archive_is_refused(tmp_path, what):
    (tmp_path / "a").write_bytes(NOT_ARCHIVES[what])
    with pytest.raises(UserError, match="damaged, or not an archive"):
        Archive(tmp_path / "a")


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        Archive(tmp_path / "a")


@examples(60)
@given(place=st.floats(0, 1, exclude_max=True))
def test_cut_off_anywhere_it_is_refused(tmp_path_factory, place):
    content, path = whole(), tmp_path_factory.mktemp("archive") / "a"
    path.write_bytes(content[: int(place * len(content))])
    with pytest.raises(UserError, match="damaged, or not an archive"):
        Archive(path)


def test_a_folder_or_a_pipe_is_no_archive_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with no_longer_than(60), pytest.raises(UserError, match="no file; give an archive"):
            Archive(path)


def unless_refused(path):
    """The files of an archive; None where it is refused."""
    tally("archives mutated")
    try:
        return dict(Archive(path).members("reading"))
    except UserError:
        return None


mutations = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=3
)


def mutated(content, changes):
    content = bytearray(content)
    for place, change in changes:
        content[int(place * len(content))] ^= change
    return bytes(content)


@examples(200)
@given(changes=mutations)
def test_other_bytes_in_the_file_give_the_same_files_or_none(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("archive") / "a"
    path.write_bytes(mutated(whole(), changes))
    assert unless_refused(path) in (None, FILES)


@examples(200)
@given(changes=mutations)
def test_other_bytes_under_a_checksum_that_holds_give_the_same_files_or_none(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("archive") / "a"
    path.write_bytes(gzip.compress(mutated(unpacked(members()), changes), 1))
    assert unless_refused(path) in (None, FILES)


def test_a_bomb_is_refused_before_it_takes_memory(tmp_path):
    """A manifest of a gigabyte, 1 MB on disk; a small archive that says it holds a terabyte; zeros behind the last file."""
    zeros = bytes(1 << 20)

    def zipped(path, head, count):
        with gzip.open(path, "wb", 1) as file:
            file.write(head)
            for _ in range(count):
                file.write(zeros)
        return path

    huge = tarfile.TarInfo("mine/manifest.json")
    huge.size = 1 << 30
    many = [{"name": f"{number}", "size": 1 << 30} for number in range(1000)]
    bombs = {
        "1,073,741,824 bytes, expected 33.6 MB at most": zipped(tmp_path / "a", huge.tobuf(), 100),
        "unpacks to 1,073,741.8 MB; one of its size may hold 1,073.7 MB": forged(
            tmp_path / "b", members(files=many)
        ),
        "something follows": zipped(tmp_path / "c", unpacked(members()), 100),
    }
    tracemalloc.start()
    for why, path in bombs.items():
        with pytest.raises(UserError, match=why):
            Archive(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6


def test_a_large_archive_may_hold_more(tmp_path, monkeypatch):
    path = packed(tmp_path / "a")
    monkeypatch.setattr(archive, "ARCHIVE_BYTES", 10)
    assert dict(Archive(path).members("reading")) == FILES
    monkeypatch.setattr(archive, "RATIO", 1e-3)
    with pytest.raises(UserError, match=r"unpacks to 0\.0 MB"):
        Archive(path)


def test_an_archive_that_changes_while_it_is_read_is_noticed(tmp_path):
    found = Archive(packed(tmp_path / "a"))
    packed(tmp_path / "a", {"other": b"x"})
    with pytest.raises(UserError, match="changed while it was read"):
        list(found.members("reading"))


def test_nothing_is_left_where_a_file_changes_while_it_is_packed(tmp_path):
    contents = iter((b"before", b"after"))
    with pytest.raises(UserError, match="file: changed while it was packed"):
        pack(tmp_path / "a", ABOUT, [Source("file", lambda: next(contents))], 1000)
    assert list(tmp_path.iterdir()) == []


def test_what_an_archive_cannot_hold_is_said(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="name is too long"):
        packed(tmp_path / "a", {"long/" * 60 + "name": b""})
    monkeypatch.setattr(archive, "FILE_BYTES", 3)
    with pytest.raises(UserError, match=r"file: 0.0 MB; an archive takes"):
        packed(tmp_path / "a", {"file": b"four"})
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_keeps_its_form():
    """Archives that were written are to be read: another form is another FORMAT."""
    assert archive.FORMAT == 1 and set(Manifest.model_fields) == {*ABOUT, "files"}
