from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations import folders
from ablations.errors import UserError
from ablations.folders import open_container, survey

ARCHIVES = ("x.zip", "x.tar", "x.tar.gz", "x.tgz")
PETS = {"cat/1.png": b"c1", "cat/2.png": b"c2", "dog/1.png": b"d1"}


def put(files, path):
    """A folder or an archive, by the ending of its name, with these files."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    elif path.suffix:
        with tarfile.open(path, "w:" if path.suffix == ".tar" else "w:gz") as archive:
            for name, content in files.items():
                archive.addfile(member(name, size=len(content)), io.BytesIO(content))
    else:
        for name, content in files.items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    return path


def member(name, **fields):
    """A member of a tar archive."""
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


def contents(path):
    """What is found, by its place, and its content."""
    found = survey(path)
    read = dict(found.container.contents(dict.fromkeys(found.images.values())))
    return {"/".join(parts): read[inside] for parts, inside in found.images.items()}


NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0."), min_size=1, max_size=12
)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.tuples(NAMES, NAMES), st.binary(max_size=50), min_size=1), st.randoms())
def test_a_folder_and_every_archive_hold_the_same(tmp_path_factory, files, random):
    where = tmp_path_factory.mktemp("x")
    files = {f"{a}/{b}.png": content for (a, b), content in files.items() if a != "__MACOSX"}
    if not files:
        return
    shuffled = random.sample(list(files.items()), len(files))
    for name in ("folder", *ARCHIVES):
        assert contents(put(dict(shuffled), where / name)) == files
    assert list(survey(where / "x.tar").images) == sorted(tuple(name.split("/")) for name in files)


@pytest.mark.parametrize("kind", ["folder", *ARCHIVES])
def test_folders_around_it_do_not_matter_and_parts_are_known(tmp_path, kind):
    for around in ("", "pets/", "a/b/", "train/"):
        files = {around + name: content for name, content in PETS.items()}
        path = tmp_path / f"in {around.replace('/', ' ')}" / kind
        path.parent.mkdir()
        assert contents(put(files, path)) == PETS
    parts = {f"{part}/{name}": content for part in ("test", "train") for name, content in PETS.items()}
    assert contents(put(parts, tmp_path / kind)) == parts


@pytest.mark.parametrize("kind", ["folder", *ARCHIVES])
def test_what_is_no_image_is_left_out_and_counted(tmp_path, kind):
    others = {
        "README": b"",
        "labels.csv": b"1",
        "cat/inner.zip": b"PK",
        "cat/Thumbs.db": b"x",
        ".DS_Store": b"x",
        "cat/._1.png": b"x",
        "__MACOSX/cat/1.png": b"x",
        ".git/x/y/1.png": b"x",
        "bird/notes.txt": b"x",
    }
    path = put(PETS | {"dog/2.JPEG": b""} | others, tmp_path / kind)
    if kind == "folder":
        (path / "empty" / "er").mkdir(parents=True)
    found = survey(path)
    assert set(contents(path)) == {*PETS, "dog/2.JPEG"}
    folders_without = {"left out (folder without images)": 3} if kind == "folder" else {}
    assert found.left_out == {"left out (no image ending)": 5, "left out (hidden)": 4} | folders_without


@pytest.mark.parametrize("kind", ["folder", *ARCHIVES])
@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"readme.txt": b""}, "no images in it, which would end in .bmp, .gif"),
        (
            {"1.png": b"", "cat/1.png": b""},
            "1.png: not in its place; expected <class>/<image>, or train/<class>",
        ),
        ({"cat/a/1.png": b"", "dog/1.png": b""}, "cat/a/1.png: not in its place"),
        ({"train/1.png": b"", "test/1.png": b""}, "test/1.png, and 1 more: not in its place"),
        (
            {f"{part}/cat/1.png": b"" for part in ("train", "val", "test")},
            "test/cat/1.png, and 2 more: not in its place",
        ),
    ],
)
def test_another_layout_is_refused(tmp_path, kind, files, told):
    path = put(files, tmp_path / kind)
    with pytest.raises(UserError) as caught:
        survey(path)
    assert str(caught.value).startswith(f"{path}: {told}")


@pytest.mark.parametrize("name", ["nothing", "file.png", "file.7z"])
def test_neither_folder_nor_archive(tmp_path, name):
    if name != "nothing":
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=r"expected a folder, \.zip, \.tar, \.tar\.gz or \.tgz, found"):
        survey(tmp_path / name)


# ------------------------------------------------------------------------------------------ hostile folders


@pytest.mark.parametrize("target", ["../secret.png", "1.png", "nowhere", "..", "."])
def test_links_are_refused_wherever_they_lead(tmp_path, target):
    path = put(PETS, tmp_path / "folder")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (path / "cat" / "link.png").symlink_to(target)
    with pytest.raises(UserError, match=r"cat/link\.png: a link, which is not followed"):
        survey(path)


def test_a_link_to_the_folder_itself_is_what_the_user_named(tmp_path):
    put(PETS, tmp_path / "folder")
    (tmp_path / "link").symlink_to("folder")
    assert contents(tmp_path / "link") == PETS


def test_pipes_are_not_waited_for(tmp_path):
    path = put(PETS, tmp_path / "folder")
    os.mkfifo(path / "cat" / "pipe.png")
    with pytest.raises(UserError, match=r"cat/pipe\.png: a special file"):
        survey(path)


def test_odd_names_are_names(tmp_path):
    odd = ["new\nline", "é", "e\u0301", "\u202ecod", "'; rm -rf x", "a" * 240, "{x}", "*", "-rf"]
    files = {f"{name}/{other}.png": name.encode() for name in odd for other in odd}
    path = put(files, tmp_path / "folder")
    (path / os.fsdecode(b"by\xff")).mkdir()
    (path / os.fsdecode(b"by\xff") / "1.png").write_bytes(b"y")
    assert contents(path) == files | {"by\udcff/1.png": b"y"}
    assert contents(put(files, tmp_path / "x.tgz")) == contents(put(files, tmp_path / "x.zip")) == files
    (path / "too\ndeep" / "x").mkdir(parents=True)
    (path / "too\ndeep" / "x" / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"too\\ndeep/x/1\.png: not in its place"):
        survey(path)


def test_thousands_of_files_in_a_folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(2000):
            (tmp_path / name / f"{i}.png").touch()
    images = survey(tmp_path).images
    assert len(images) == 4000 and list(images)[:3] == [("cat", "0.png"), ("cat", "1.png"), ("cat", "10.png")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path):
    path = put(PETS, tmp_path / "folder")
    (path / "cat").chmod(0)
    try:
        with pytest.raises(UserError, match=r"not a readable folder: .*Permission denied.*cat"):
            survey(path)
    finally:
        (path / "cat").chmod(0o755)


def test_a_file_that_vanishes_is_named(tmp_path):
    path = put(PETS, tmp_path / "folder")
    with pytest.raises(UserError, match=r"not a readable folder: .*cat/9\.png"):
        list(open_container(path).contents({"cat/9.png": 0}))


# ------------------------------------------------------------------------------------------ hostile archives


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("name", ["../cat/3.png", "cat/../../3.png", "/etc/3.png", "/3.png", "./../x/3.png"])
def test_names_that_lead_out_of_an_archive_are_refused(tmp_path, kind, name):
    (tmp_path / "inside").mkdir()
    path = put(PETS | {name: b"x"}, tmp_path / "inside" / kind)
    with pytest.raises(UserError, match=r"3\.png: this path leads out of the archive"):
        survey(path)
    assert sorted(each.name for each in tmp_path.rglob("*")) == sorted(["inside", kind])


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_dot_before_names_is_none(tmp_path, kind):
    assert contents(put({f"./{name}": content for name, content in PETS.items()}, tmp_path / kind)) == PETS


@pytest.mark.parametrize("type", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_archive_are_refused(tmp_path, type):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(member("cat/1.png", size=1), io.BytesIO(b"x"))
        archive.addfile(member("cat/2.png", type=type, linkname="/etc/passwd"))
    with pytest.raises(UserError, match=r"cat/2\.png: a link"):
        survey(path)


@pytest.mark.parametrize("type", [tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_devices_in_a_tar_archive_are_refused(tmp_path, type):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(member("cat/zero.png", type=type))
    with pytest.raises(UserError, match=r"cat/zero\.png: a special file"):
        survey(path)


def test_links_in_a_zip_archive_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("cat/1.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match=r"cat/1\.png: a link"):
        survey(tmp_path / "x.zip")


def test_an_encrypted_archive_is_refused(tmp_path):
    path = put(PETS, tmp_path / "x.zip")
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1  # the flag of the first member in the directory
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"cat/1\.png: encrypted"):
        survey(path)


@pytest.mark.parametrize("kind", ["x.zip", "x.tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path, kind):
    path = put(PETS, tmp_path / kind)
    if kind == "x.zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("cat/1.png", b"other")
    else:
        with tarfile.open(path, "a") as archive:
            archive.addfile(member("./cat/1.png"))
    with pytest.raises(UserError, match=r"cat/1\.png: twice"):
        survey(path)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_no_more_of_a_member_is_read_than_allowed(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(folders, "FILE_BYTES", 5000)
    path = put(PETS | {"cat/large.png": bytes(10_000)}, tmp_path / kind)
    if kind == "x.zip":  # told by whoever decodes it
        assert len(contents(path)["cat/large.png"]) == 5001
    else:
        with pytest.raises(UserError, match=r"cat/large\.png: more than 5,000 bytes"):
            survey(path)


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("name", ["a/" * 40 + "1.png", "a/" + "b" * 5000 + ".png"])
def test_paths_without_end_are_refused(tmp_path, kind, name):
    with pytest.raises(UserError, match="this path has more than 4096 characters or 32 folders") as caught:
        survey(put(PETS | {name: b""}, tmp_path / kind))
    assert len(str(caught.value)) < 500


def test_what_stands_before_a_member_is_limited_too(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "HEADERS", 200_000)
    path = tmp_path / "x.tgz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member("cat/1.png", pax_headers={"comment": "x" * 1_000_000}))
    assert path.stat().st_size < 10_000
    with pytest.raises(UserError, match="more than 200,000 bytes between files"):
        survey(path)


def test_a_long_tar_archive_is_read(tmp_path, monkeypatch):
    """The limit holds from file to file."""
    monkeypatch.setattr(folders, "HEADERS", 100_000)
    files = {f"{'cat' if i % 2 else 'dog'}/{i}.png": bytes([i % 256]) * 10_240 for i in range(300)}
    assert contents(put(files, tmp_path / "x.tgz")) == files


@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_truncated_archive_is_noticed(tmp_path, kind):
    files = {f"{'cat' if i % 2 else 'dog'}/{i}.png": os.urandom(700) for i in range(20)}
    whole = put(files, tmp_path / kind).read_bytes()
    # A tar archive ends in zeros, of which some may be missing; gzip has a checksum behind them.
    for length in (0, 1, 100, 512, 1536, 2048, len(whole) // 2, *([-1] if kind != "x.tar" else [])):
        (tmp_path / kind).write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"not a readable (zip|tar) archive"):
            survey(tmp_path / kind)


@pytest.mark.parametrize("where", range(512, 512 + 160, 13))
def test_a_damaged_header_does_not_end_a_tar_archive(tmp_path, where):
    path = put({f"{name}/1.png": b"" for name in "abcd"}, tmp_path / "x.tar")
    raw = bytearray(path.read_bytes())
    raw[where] ^= 0x55
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"not a readable tar archive: .* at byte 512"):
        survey(path)


def test_what_is_named_an_archive_and_is_none(tmp_path):
    for name in ARCHIVES:
        for content in (b"", b"hello", os.urandom(3000), gzip.compress(b"hello"), bytes(100_000)):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(UserError, match=r"not a readable|no images in it"):
                survey(tmp_path / name)


def test_a_member_whose_content_is_damaged_is_noticed(tmp_path):
    path = put(PETS | {"cat/3.png": b"unmistakable"}, tmp_path / "x.zip")
    path.write_bytes(path.read_bytes().replace(b"unmistakable", b"unmistakeble"))
    with pytest.raises(UserError, match="not a readable zip archive: Bad CRC-32"):
        contents(path)
