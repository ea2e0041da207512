"""Results of several machines in one store: whole or not at all, never over what is there, and used from then on as if
they had been trained here."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import TINY, examples, snakemake, tally, write
from hypothesis import given
from hypothesis import strategies as st
from stores import contents, made_up, plan_of
from test_archive import forged, member, mutated, mutations

from ablations import layout, store
from ablations.archive import Archive
from ablations.cli import main
from ablations.config import Library
from ablations.errors import UserError
from ablations.files import json_bytes
from ablations.merging import COMPLETED, CONFLICT, HERE, IMPORTED, import_archives
from ablations.plan import ENGINE_VERSION, make_plan
from ablations.sharing import export
from ablations.store import GENERATIONS, LEFT_OUT, SUMS, WEIGHTS, Store, runs_of, snapshot
from ablations.training.checkpoint import Checkpoints


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Go to the folder of some machine; its plan."""
    monkeypatch.chdir(tmp_path)  # and back in the end

    def go(name: str):
        (tmp_path / name).mkdir(exist_ok=True)
        os.chdir(tmp_path / name)
        return plan_of(tmp_path)

    return go


@pytest.fixture(scope="module")
def known():
    """Archives that were made before, by what is in them."""
    return {}


@pytest.fixture
def packed(machine, tmp_path, known):
    """The archive of what a machine has trained; back on the machine `here`."""

    def pack(name: str, seeds=(0, 1), weights=False, **made) -> Path:
        path, what = tmp_path / f"{name}.tar.gz", repr((seeds, weights, made))
        if what not in known:
            plan = machine(name)
            made_up(plan, seeds, **made)
            export(plan, None, path, weights)
            known[what] = path.read_bytes()
        path.write_bytes(known[what])
        (tmp_path / "here").mkdir(exist_ok=True)
        os.chdir(tmp_path / "here")
        return path

    return pack


def stored():
    return contents(layout.RESULTS / "runs") if (layout.RESULTS / "runs").is_dir() else {}


def run_ids(plan):
    return [run.id for _, _, run in runs_of(plan.study("depth"))]


# ------------------------------------------------------------------------------------------ several machines


def test_the_runs_of_several_machines_come_together(packed, tmp_path, capsys):
    one, other = packed("one", (0,)), packed("other", (1,))
    assert main(["import", str(one), str(other)]) == 0
    assert "imported 4 runs\n" in capsys.readouterr().out
    assert {run: Store(layout.RESULTS).check(run) for run in Store(layout.RESULTS).ids()} == dict.fromkeys(
        run_ids(plan_of(tmp_path)), True
    )
    before = stored()
    assert main(["import", str(one), str(other)]) == 0
    assert "imported 0 runs, 4 were here already\n" in capsys.readouterr().out and stored() == before


def test_a_run_with_other_times_is_the_same_run_and_the_one_here_stays(packed, machine):
    there = packed("there", seconds=9.0)
    made_up(machine("here"), (0, 1), seconds=1.0)
    before = stored()
    assert import_archives([there], False) == {HERE: 4} and stored() == before


def test_a_conflict_is_told_with_both_sides_and_nothing_is_overwritten(packed, machine, capsys):
    there = packed("there", shift=0.125, torch="2.16.0")
    plan = machine("here")
    made_up(plan, (0,))
    before = stored()
    capsys.readouterr()
    assert main(["import", str(there)]) == 1
    told = capsys.readouterr().out
    assert "imported 2 runs, 2 conflicts\n" in told
    run = run_ids(plan)[0]
    number = int(run[:4], 16) / 1000
    assert f"conflict: plain-8 seed 0 ({run}): the run here stays" in told
    assert f"differs first in running_loss of epoch 1: {number} and {number + 0.125}" in told
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert f"test error {number:.4f} % {number + 0.125:.4f} %" in lines and "torch 2.15.0 2.16.0" in lines
    assert before.items() <= stored().items() and len(Store(layout.RESULTS).ids()) == 4


@pytest.mark.parametrize("what", ["history.csv", "metrics.json", WEIGHTS])
def test_a_single_bit_that_was_learnt_otherwise_is_a_conflict(packed, machine, what):
    there = packed("there")
    plan = machine("here")
    made_up(plan, (0, 1))
    path, results = layout.RESULTS / "runs" / run_ids(plan)[0], Store(layout.RESULTS)
    content = (path / what).read_bytes()
    if what == WEIGHTS:
        content = content[:-1] + bytes([content[-1] ^ 1])
    elif what == "metrics.json":
        metrics = json.loads(content)
        content = json_bytes({**metrics, "test_error": metrics["test_error"] * (1 + 2**-52)})
    else:
        content = content.replace(b",1.0,", b",1.0000000000000002,", 1)
    results.write(path.name, {what: content}, results.sums(path.name))
    before = stored()
    assert import_archives([there], False) == {HERE: 3, CONFLICT: 1} and stored() == before


def test_two_archives_that_disagree_give_the_first_one(packed):
    one, other = packed("one"), packed("other", shift=1.0)
    import_archives([one], False)
    first = stored()
    shutil.rmtree(layout.RESULTS / "runs")
    assert import_archives([one, other], False) == {IMPORTED: 4, CONFLICT: 4} and stored() == first


# ------------------------------------------------------------------------------------------ what cannot be used


def test_one_bad_archive_and_nothing_of_any_is_imported(packed, capsys):
    good, bad = packed("good", (0,)), packed("bad", (1,))
    bad.write_bytes(bad.read_bytes()[:-9])
    assert main(["import", str(good), str(bad)]) == 2
    told = capsys.readouterr().err
    assert f"{bad}: damaged, or not an archive" in told and told.endswith("Nothing was imported.\n")
    assert not stored()


@pytest.fixture(scope="module")
def four_runs(tmp_path_factory):
    """The content of an archive, packed; with weights and snapshots, and no more than runs."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("machine")
    os.chdir(folder)
    try:
        plan = plan_of(folder)
        made_up(plan, (0, 1))
        export(plan, None, Path("a"), weights=True)
        return Path("a").read_bytes(), stored()
    finally:
        os.chdir(before)


@examples(60)
@given(changes=mutations, inside=st.booleans(), here=st.booleans())
def test_whatever_bytes_are_changed_it_is_imported_clean_or_refused(
    four_runs, tmp_path_factory, changes, inside, here
):
    tally("archives mutated")
    archive, runs = four_runs
    results = tmp_path_factory.mktemp("machine") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "RESULTS", results)
        if here:  # a run of the archive is there already
            name = min(runs).partition("/")[0]
            for path, content in runs.items():
                if path.startswith(name):
                    (results / "runs" / name).mkdir(parents=True, exist_ok=True)
                    (results / "runs" / path).write_bytes(content)
        before = contents(results)
        content = (
            gzip.compress(mutated(gzip.decompress(archive), changes), 1)
            if inside
            else mutated(archive, changes)
        )
        (results.parent / "a").write_bytes(content)
        try:
            outcomes = import_archives([results.parent / "a"], False)
        except UserError:
            assert contents(results) == before
        else:
            assert outcomes == ({IMPORTED: 3, HERE: 1} if here else {IMPORTED: 4})
            sorted_sums = {k: sorted(v.splitlines()) if k.endswith(SUMS) else v for k, v in stored().items()}
            assert sorted_sums == {
                k: sorted(v.splitlines()) if k.endswith(SUMS) else v for k, v in runs.items()
            }


def tampered(path, change):
    """An archive whose files of one run, or manifest, were changed by someone who knows how to make the checksums."""
    found = Archive(path)
    files = dict(found.members("reading"))
    manifest = found.manifest.model_dump(mode="json")
    run = manifest["runs"][0]["id"]
    of_run = {name.rpartition("/")[2]: content for name, content in files.items() if run in name}
    change(of_run, manifest)
    files = {name: content for name, content in files.items() if run not in name}
    files |= {f"results/runs/{run}/{name}": content for name, content in of_run.items()}
    manifest["files"] = [{"name": name, "size": len(files[name])} for name in sorted(files)]
    head = json.dumps(manifest).encode()
    every = {"manifest.json": head, **{name: files[name] for name in sorted(files)}}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in every.items())
    parts = [("manifest.json", head), (SUMS, sums.encode()), *((name, files[name]) for name in sorted(files))]
    return forged(path, [member(f"mine/{name}", content) for name, content in parts])


def edit(name, **fields):
    def change(files, manifest):
        files[name] = json.dumps({**json.loads(files[name]), **fields}).encode()

    return change


def put(name, content):
    return lambda files, manifest: files.update({name: content})


def without(name):
    return lambda files, manifest: files.pop(name)


REFUSALS = {
    "config of another run": (edit("config.json", seed=7), "not what the manifest says"),
    "other recipe": (edit("config.json", recipe={"epochs": 9, "batch_size": 1, "learning_rate": 1.0}), "is that of the run"),
    "config of nothing": (put("config.json", b"{}"), "cannot be read"),
    "unknown field": (edit("config.json", model={"family": "resnet", "new\x1b": 1}), "unknown key"),
    "unknown family": (edit("config.json", model={"family": []}), "family"),
    "no JSON": (put("metrics.json", b"{"), "cannot be read"),
    "great depth": (put("metrics.json", b"[" * 100_000), "cannot be read"),
    "a list": (put("metrics.json", b"[]"), "cannot be read"),
    "not a number": (edit("metrics.json", test_error=float("nan")), "metrics.json: test_error is no number"),
    "a truth": (edit("metrics.json", test_error=True), "metrics.json: test_error is no number"),
    "an error below 0": (edit("metrics.json", test_error=-5e300), "metrics.json: test_error is -5e+300"),
    "an error beyond 100": (edit("metrics.json", train_error=100.5), "metrics.json: train_error is 100.5"),
    "a huge number": (edit("metrics.json", test_error=10**400), "cannot be read"),
    "a word": (edit("metrics.json", more="word"), "metrics.json: more is no metric of a run"),
    "status": (edit("metrics.json", status="\x1b[2J"), "metrics.json: status is"),
    "fewer epochs": (edit("metrics.json", epochs_trained=7), "history.csv has 2 epochs, metrics.json 7"),
    "history of words": (put("history.csv", b"epoch\none\ntwo\n"), "cannot be read"),
    "history with long rows": (put("history.csv", b"epoch\n1,2\n2,3\n"), "cannot be read"),
    "no text": (put("history.csv", b"\xff\xfe"), "cannot be read"),
    "environment": (edit("environment.json", torch="\x1b[2J"), "environment.json: torch is"),
    "threads in words": (edit("environment.json", threads="many"), "environment.json: threads is"),
    "no threads": (edit("environment.json", threads=0), "environment.json: threads is 0"),
    "a history of one column": (put("history.csv", b"epoch\n1\n2\n"), "history.csv: the column gradient_norm is missing"),
    "a file less": (without("history.csv"), "history.csv is missing"),
    "neither weights nor their checksum": (without(LEFT_OUT), f"{WEIGHTS} is missing"),
    "another file": (put("evil.py", b""), "evil.py is no file of a run"),
    "a checkpoint": (put(GENERATIONS[0], b""), "checkpoint is no file of a run"),
    "its checksums": (put(SUMS, b""), f"{SUMS} is no file of a run"),
    "metrics left out": (put(LEFT_OUT, b"00  metrics.json\n"), "cannot be read"),
    "history left out": (put(LEFT_OUT, b"".join(b"0" * 64 + b"  %s\n" % name for name in (WEIGHTS.encode(), b"history.csv"))), "not to be left out"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSALS)
def test_a_run_that_cannot_be_one_is_refused_and_the_others_imported(packed, capsys, what):
    change, why = REFUSALS[what]
    there = tampered(packed("there"), change)
    capsys.readouterr()
    assert main(["import", str(there)]) == 1
    told = capsys.readouterr().out
    refused = next(line for line in told.splitlines() if line.startswith("refused: plain-8 seed 0 ("))
    assert why in refused and "\x1b" not in told and "imported 3 runs, 1 refused\n" in told
    assert len(Store(layout.RESULTS).ids()) == 3


def other_id(files, manifest):
    manifest["runs"][0]["id"] = "0" * 16


def listed_twice(files, manifest):
    manifest["runs"].append(manifest["runs"][0])


def unlisted(files, manifest):
    manifest["runs"].pop()


@pytest.mark.parametrize("change", [other_id, listed_twice, unlisted])
def test_runs_that_are_not_those_of_the_manifest(packed, capsys, change):
    assert main(["import", str(tampered(packed("there"), change))]) == 2
    assert "the runs that it lists are not those that it holds" in capsys.readouterr().err and not stored()


def of_engine(version):
    """Everything of an archive said to be of another engine version."""

    def change(files, manifest):
        manifest["engine"] = version
        files["config.json"] = json.dumps({**json.loads(files["config.json"]), "engine": version}).encode()

    return change


def test_another_engine_version_is_not_imported_unless_that_is_asked_for(packed, tmp_path, capsys):
    there = tampered(packed("there", (0,)), of_engine(ENGINE_VERSION - 1))
    assert main(["import", str(there)]) == 2
    told = capsys.readouterr().err
    assert f"trained by engine version {ENGINE_VERSION - 1}, this is version {ENGINE_VERSION}" in told
    assert "--any-engine stores them all the same" in told and not stored()
    assert main(["import", str(there), "--any-engine"]) == 1  # the other run says that it is of this version
    told = capsys.readouterr().out
    assert "used by no report of this version" in told and "imported 1 run, 1 refused" in told
    # It lies there under an id of this version: it is never taken for a run of it.
    plan = plan_of(tmp_path)
    run = next(run for _, _, run in runs_of(plan.study("depth")) if Store(layout.RESULTS).check(run.id))
    with pytest.raises(
        UserError, match=f"trained by engine version {ENGINE_VERSION - 1}, this is {ENGINE_VERSION}"
    ):
        Store(layout.RESULTS).metrics(run)


def test_data_that_are_others_here_are_told(packed, machine, capsys):
    there = packed("there")
    plan = machine("here")
    (key,) = {arm.data_key for arm in plan.study("depth").arms.values()}
    other = plan.library.dataset("digits-noisy")
    from ablations.data import prepare

    prepare(other, layout.data(key))
    import_archives([there], False)
    assert f"results/data/{key}.safetensors is not the data of 4 runs of it" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------ nothing is lost


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_file_the_store_has_whole_runs_only(packed, monkeypatch, after):
    there = packed("there", (0,), weights=True)
    import_archives([there], False)
    whole, count = stored(), 0
    written = len(whole)  # files, SHA256SUMS among them
    for last in range(written):
        shutil.rmtree(layout.RESULTS / "runs")
        count = 0

        def dies(write, last=last):
            def writing(path, content):
                nonlocal count
                if count == last and not after:
                    raise Killed
                write(path, content)
                count += 1
                if count == last + 1 and after:
                    raise Killed

            return writing

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(store, "write_bytes", dies(store.write_bytes))
            patch.setattr(store, "write_text", dies(store.write_text))
            import_archives([there], False)
        results = Store(layout.RESULTS)
        finished = [run for run in results.ids() if results.check(run)]  # none is damaged
        outcomes = import_archives([there], False)
        assert outcomes[HERE] == len(finished) == (last + after) // 7 and outcomes.total() == 2
        assert stored() == whole


def test_several_imports_at_once_do_no_damage(packed, tmp_path):
    archives = [packed(f"machine-{number}", seconds=number + 1.0) for number in range(3)]
    children = []
    for number in range(6):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                import_archives([archives[number % 3], archives[(number + 1) % 3]], False)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    results = Store(layout.RESULTS)
    assert [results.check(run) for run in results.ids()] == [True] * 4
    assert not [path for path in results.folder.iterdir() if path.name not in results.ids()]


def test_a_damaged_run_is_set_aside_for_that_of_an_archive(packed, machine, capsys):
    there = packed("there", weights=True)
    plan = machine("here")
    made_up(plan, (0, 1))
    path = layout.RESULTS / "runs" / run_ids(plan)[0]
    (path / "metrics.json").write_bytes(b"damaged")
    assert import_archives([there], False) == {IMPORTED: 1, HERE: 3}
    assert "set aside as" in capsys.readouterr().out and Store(layout.RESULTS).check(path.name)
    assert (path.with_name(f"{path.name}.damaged-1") / "metrics.json").read_bytes() == b"damaged"


def test_a_run_that_had_begun_here_is_finished_by_the_archive(packed, machine):
    there = packed("there", (0,), weights=True)
    folder = layout.RESULTS / "runs" / run_ids(machine("here"))[0]
    checkpoints = Checkpoints(folder)
    checkpoints.save({"epoch": 1})
    checkpoints.save({"epoch": 2})
    assert import_archives([there], False) == {IMPORTED: 2}
    assert not any((folder / name).exists() for name in GENERATIONS) and Store(layout.RESULTS).check(
        folder.name
    )


# ------------------------------------------------------------------------------------------ weights


def test_a_run_without_weights_is_checked_like_any_other(packed, machine):
    import_archives([packed("there")], False)
    results, run = Store(layout.RESULTS), run_ids(machine("here"))[0]
    assert set(results.sums(run)) == {
        "config.json",
        "environment.json",
        "history.csv",
        "metrics.json",
        LEFT_OUT,
    }
    assert set(results.left_out(run)) == {WEIGHTS, snapshot(1)} and results.snapshots(run) == []
    for name in results.sums(run):
        content = (results.folder / run / name).read_bytes()
        (results.folder / run / name).write_bytes(content[:-2])
        with pytest.raises(store.Damaged, match=name):
            results.check(run)
        (results.folder / run / name).write_bytes(content)
    assert results.check(run)


def test_weights_are_added_to_runs_that_came_without(packed):
    light, heavy = packed("there"), packed("again", weights=True, seconds=7.0)
    import_archives([light], False)
    before = stored()
    assert import_archives([heavy], False) == {COMPLETED: 4}
    results = Store(layout.RESULTS)
    for run in results.ids():
        assert results.check(run) and results.left_out(run) == {} and results.snapshots(run) == [1]
        assert results.file(run, "metrics.json") == before[f"{run}/metrics.json"]  # of the first
        assert not (results.folder / run / LEFT_OUT).exists()
    assert import_archives([heavy, light], False) == {HERE: 8}


def test_killed_while_weights_are_added_a_run_stays_whole(packed, monkeypatch):
    light, heavy = packed("there"), packed("again", weights=True)
    import_archives([light], False)

    def dies(path, content):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(store, "write_text", dies)
        import_archives([heavy], False)
    results = Store(layout.RESULTS)
    assert all(results.check(run) and results.left_out(run) for run in results.ids())
    assert import_archives([heavy], False) == {COMPLETED: 4}


@pytest.mark.parametrize("last", range(8))
def test_killed_while_some_of_its_weights_are_added_a_run_stays_whole(packed, monkeypatch, last):
    light, heavy = packed("there", (0,)), packed("again", (0,), weights=True)
    import_archives([light], False)
    results, writes = Store(layout.RESULTS), iter(range(8))
    for run in results.ids():
        left = results.left_out(run) | {store.snapshot(9): "0" * 64}  # which no archive has
        kept = {name: digest for name, digest in results.sums(run).items() if name != LEFT_OUT}
        results.write(run, {LEFT_OUT: store.sums_text(left).encode()}, kept)

    def dying(write):
        def writing(path, content):
            if next(writes) == last:
                raise Killed
            write(path, content)

        return writing

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(store, "write_bytes", dying(store.write_bytes))
        patch.setattr(store, "write_text", dying(store.write_text))
        import_archives([heavy], False)
    assert all(results.check(run) for run in results.ids())
    import_archives([heavy], False)
    for run in results.ids():
        assert results.check(run) and results.snapshots(run) == [1] and WEIGHTS in results.sums(run)


def test_what_came_without_weights_goes_on_without_them(packed, machine, tmp_path):
    import_archives([packed("there")], False)
    first = stored()
    export(machine("here"), None, tmp_path / "on", weights=True)
    machine("third")
    import_archives([tmp_path / "on"], False)
    assert stored() == first


# ------------------------------------------------------------------------------------------ used as if trained here


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Archives, light and heavy, of a machine that has trained the suite `tiny`; and its runs."""
    folder = tmp_path_factory.mktemp("trained")
    write(folder / "my" / "suites" / "tiny.yaml", TINY.format(seeds=1).replace("epochs: 1", "epochs: 2"))
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert main(["train", "depth", "--suite", "tiny", "--extra", "my", "--device", "cpu"]) == 0
        for name, options in {"light": (), "heavy": ("--weights",)}.items():
            assert main(["export", "--suite", "tiny", "--extra", "my", "--out", name, *options]) == 0
        return folder, stored()
    finally:
        os.chdir(before)


@pytest.fixture
def elsewhere(trained, workspace):
    """Another machine with the same definitions."""
    shutil.copytree(trained[0] / "my", workspace / "my")
    return make_plan(Library("my"), "tiny")


OWN = ("--suite", "tiny", "--extra", "my")


def test_training_uses_imported_runs_and_only_writes_the_table(trained, elsewhere, capsys):
    folder, runs = trained
    assert main(["import", str(folder / "light")]) == 0
    before = stored()
    assert main(["prepare", *OWN]) == 0
    for job in elsewhere.jobs_of("depth"):
        assert main(["train", "--job", job.name, "--device", "cpu", *OWN]) == 0
        lines = layout.arm_table("tiny", job.name).read_text().splitlines()
        assert len(lines) == 2 and lines[1].partition(",")[0] + "/metrics.json" in runs
    told = capsys.readouterr().out
    assert told.count("cached, finished") == 2 and "epoch 1" not in told
    assert stored() == before


def test_what_takes_weights_says_that_they_are_not_here_until_they_are(trained, elsewhere, capsys):
    folder, _ = trained
    names = list(elsewhere.study("depth").study.diagnostics)
    tables = {}
    assert main(["prepare", *OWN]) == 0
    for kind in ("light", "heavy"):
        assert main(["import", str(folder / kind)]) == 0
        capsys.readouterr()
        assert main(["diagnose", "depth", *OWN]) == 0
        told = capsys.readouterr().out
        assert ("These runs are here without their weights" in told) == (kind == "light")
        assert ("plain-8 seed 0: results/runs/" in told) == (kind == "light")
        assert "train it again" not in told and "has no snapshots" not in told
        paths = (layout.diagnostic("tiny", "depth", name) for name in names)
        tables[kind] = {path.stem: path.read_text() for path in paths if path.is_file()}
    assert all(
        set(tables["light"][name].splitlines()) <= set(tables["heavy"][name].splitlines())
        for name in tables["light"]
    )
    assert (
        "trained" not in tables["light"]["gradient-by-layer"]
        and "trained" in tables["heavy"]["gradient-by-layer"]
    )


def test_trained_again_for_other_snapshots_a_run_gets_its_weights_back(
    trained, elsewhere, capsys, monkeypatch
):
    """Of runs that came without weights from a machine that kept no snapshots."""
    folder, runs = trained
    with_snapshots = {name: content for name, content in runs.items() if not name.endswith(SUMS)}
    assert main(["import", str(folder / "light")]) == 0
    results = Store(layout.RESULTS)
    for run in results.ids():
        left = {WEIGHTS: results.left_out(run)[WEIGHTS]}
        kept = {name: digest for name, digest in results.sums(run).items() if name != LEFT_OUT}
        results.write(run, {LEFT_OUT: store.sums_text(left).encode()}, kept)
    assert main(["train", "depth", "--device", "cpu", *OWN]) == 0
    assert capsys.readouterr().out.count("trained again for its snapshots, to the same weights") == 2
    assert {name: content for name, content in stored().items() if not name.endswith(SUMS)} == with_snapshots
    assert all(results.check(run) for run in results.ids())


def test_snakemake_takes_imported_runs_for_its_own(trained, elsewhere, workspace):
    folder, _ = trained
    assert main(["import", str(folder / "light")]) == 0
    before = stored()
    targets = [
        str(layout.study_table("tiny", "depth", "runs")),
        str(layout.study_table("tiny", "depth", "history")),
    ]
    snakemake(*targets, "--config", "suite=tiny", "extra=my", folder=workspace)
    assert stored() == before
    for log in (workspace / "results" / "tiny" / "logs" / "train").iterdir():
        assert "cached" in log.read_text() and "epoch" not in log.read_text()
    table = Path(targets[0]).read_text()
    assert all(run in table for run in Store(layout.RESULTS).ids())
    assert "Nothing to be done" in snakemake(*targets, "--config", "suite=tiny", "extra=my", folder=workspace)
