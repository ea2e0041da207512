"""Searches whose trials several machines share in PostgreSQL, with a server of Debian's started for the test."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from conftest import snakemake
from test_search import (
    OWN,
    RATE,
    Pretended,
    check_every_place_is_spent_once,
    definitions,
    ended,
    in_a_process,
    no_worker_waits_for_ever,  # noqa: F401 - for every test here too
    planned,
    search,
    stored,
    studies,
    table,
    waits_in_its_first_run,
    worker,
)

from ablations import layout
from ablations.cli import main
from ablations.errors import UserError
from ablations.search import storage as storages
from ablations.search import worker as working
from ablations.search.address import ADDRESS
from ablations.search.outcome import write_outcome
from ablations.search.storage import open_storage
from ablations.search.trials import WORKER, begin, places

pytest.importorskip("psycopg", reason="no psycopg: pip install 'ablations[postgresql]'")

PROGRAMS = max(
    Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name)
)
if PROGRAMS is None:
    pytest.skip("no PostgreSQL server: apt-get install postgresql", allow_module_level=True)


def as_postgres(*command, folder):
    """Run a program of the server, which refuses to run as root."""
    other = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
    subprocess.run([*other, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=60)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server of its own, which asks for a password; with every character that takes care."""
    folder = tmp_path_factory.mktemp("postgresql")
    password = f"{secrets.token_hex(4)}@:/{{}}%' "
    (folder / "password").write_text(password)
    if os.getuid() == 0:
        for path in (*folder.parents, folder, folder / "password"):
            if path.owner() == "root" and "pytest" in str(path):
                path.chmod(0o755)
        for path in (folder, folder / "password"):
            os.chown(
                path,
                *(getattr(__import__("pwd").getpwnam("postgres"), f"pw_{each}") for each in ("uid", "gid")),
            )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    as_postgres(
        *(PROGRAMS / "initdb", "--auth=scram-sha-256", "--username=me", f"--pwfile={folder / 'password'}"),
        *("--no-sync", f"--pgdata={data}"),
        folder=folder,
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    as_postgres(
        PROGRAMS / "pg_ctl", "start", "--wait", f"--pgdata={data}", f"--options={options}", f"--log={folder / 'log'}",
        folder=folder,
    )  # fmt: skip
    from urllib.parse import quote

    yield f"postgresql+psycopg://me:{quote(password, safe='')}@127.0.0.1:{port}", password
    as_postgres(PROGRAMS / "pg_ctl", "stop", "--mode=immediate", f"--pgdata={data}", folder=folder)


@pytest.fixture
def database(server, workspace, monkeypatch):
    """A database of the test's own, which searches take from the environment; a second without a sign of life and a
    worker counts as gone."""
    import psycopg

    address, _ = server
    name = f"d{secrets.token_hex(4)}"
    with psycopg.connect(address.replace("+psycopg", "") + "/postgres", autocommit=True) as connection:
        connection.execute(f"create database {name}")
    monkeypatch.setenv(ADDRESS, f"{address}/{name}")
    monkeypatch.setattr(storages, "HEARTBEAT", 1)
    monkeypatch.setattr(storages, "GRACE", 3)
    monkeypatch.setattr(working, "PAUSE", 0.2)
    return workspace


def begun(folder, text, **more):
    study = planned(folder, text, **more)
    begin("tiny", study, open_storage("tiny"))
    return study


def test_workers_share_a_budget_and_one_that_is_killed_mid_trial_is_failed_over(database):
    study = begun(database, f"{{trials: 8, seeds: 2, space: {RATE}}}", depths="[8, 14]")
    killed = waits_in_its_first_run(study, database)
    log = database / "log"
    others = [in_a_process(lambda: worker(study, Pretended(log, pause=0.01))) for _ in range(2)]
    time.sleep(0.3)
    os.kill(killed, signal.SIGKILL)
    assert ended(killed) == -signal.SIGKILL
    assert [ended(child) for child in others] == [0, 0]
    check_every_place_is_spent_once(study)
    failed, retried = places(studies(study)[0], study.search)[0]
    assert failed.params and failed.params == retried.params  # once more, with the settings that it had
    begun_runs = Counter(line.split()[1] for line in log.read_text().splitlines() if line.startswith("begun"))
    assert set(begun_runs.values()) == {1}
    write_outcome("tiny", study, open_storage("tiny"))
    trials = table(database)
    assert len(trials) == 17 and list(trials["state"]).count("failed") == 1
    assert not layout.journal("tiny").exists()


def test_workers_killed_at_random_points_lose_no_trial_and_run_none_twice(database):
    import random

    study = begun(database, f"{{trials: 15, seeds: 1, space: {RATE}}}")
    chance, kills = random.Random(0), 0

    def start():
        return in_a_process(lambda: worker(study, Pretended(database / "log", pause=0.03)))

    at_work = [start() for _ in range(3)]
    while kills < 12:
        time.sleep(chance.uniform(0.05, 0.4))
        victim = at_work.pop(chance.randrange(3))
        os.kill(victim, signal.SIGKILL)
        if ended(victim) == 0:
            break
        kills += 1
        at_work.append(start())
    assert not any(ended(child) for child in at_work)
    assert kills >= 3
    worker(study, Pretended())
    check_every_place_is_spent_once(study)


@pytest.mark.parametrize("signed", [False, True])
def test_a_worker_killed_before_its_first_heartbeat_is_failed_over_too(database, signed, monkeypatch):
    study = begun(database, f"{{trials: 3, seeds: 1, space: {RATE}}}")

    def take_and_die():
        if signed:
            training = Pretended()
            training.error_of = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            worker(study, training)
        else:
            monkeypatch.setattr(
                storages.RDBStorage, "record_heartbeat", lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            )
            worker(study, Pretended())

    assert ended(in_a_process(take_and_die)) == -signal.SIGKILL
    (left,) = [trial for trial in studies(study)[0].get_trials() if trial.state.name == "RUNNING"]
    assert (WORKER in left.user_attrs) == signed
    worker(study, Pretended())
    check_every_place_is_spent_once(study)


def test_a_worker_that_was_taken_for_gone_goes_on_with_other_trials(database):
    study = begun(database, f"{{trials: 4, seeds: 1, space: {RATE}}}")

    class Slow(Pretended):
        def error_of(self, arm, seed, after_epoch):
            if not (database / "reached").exists():
                (database / "reached").touch()
                while not (database / "done").exists():
                    time.sleep(0.05)
            return super().error_of(arm, seed, after_epoch)

    stopped = in_a_process(lambda: worker(study, Slow()))
    while not (database / "reached").exists():
        time.sleep(0.01)
    os.kill(stopped, signal.SIGSTOP)  # a machine that sleeps
    worker(study, Pretended(database / "log"))
    check_every_place_is_spent_once(study)
    (database / "done").touch()
    os.kill(stopped, signal.SIGCONT)
    assert ended(stopped) == 0
    check_every_place_is_spent_once(study)
    assert (database / "log").read_text().count("begun") == 4


def test_the_password_is_nowhere_but_in_the_environment(database, server, monkeypatch, capsys):
    _, password = server
    definitions(database, f"{{trials: 2, seeds: 1, space: {RATE}}}", epochs=1)
    search(database)
    before = stored(database)
    search(database)  # a second time nothing is done
    assert stored(database) == before and len(table(database)) == 2
    address = os.environ[ADDRESS]
    monkeypatch.setenv(ADDRESS, address.replace(password[:8], "wrong" + password[:8]))
    assert main(["search", "depth", *OWN]) == 2
    told = capsys.readouterr()
    assert "password authentication failed" in told.err and told.err.count("\n") == 1
    assert password[:8] not in told.out + told.err
    files = [path for path in database.rglob("*") if path.is_file()]
    assert files and not [path for path in files if password[:8].encode() in path.read_bytes()]


def test_a_server_that_goes_away_ends_a_worker_with_one_message(database, server, monkeypatch, capsys):
    import psycopg

    definitions(database, f"{{trials: 3, seeds: 1, space: {RATE}}}", epochs=1)
    address, name = os.environ[ADDRESS].rsplit("/", 1)

    def gone(*_, **__):
        with psycopg.connect(address.replace("+psycopg", "") + "/postgres", autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")
        raise UserError("what cannot be written down any more")

    monkeypatch.setattr("ablations.search.training.train_arm", gone)
    assert main(["search", "depth", *OWN]) == 2
    told = capsys.readouterr().err
    assert told.startswith("ablations: postgresql+psycopg://me:***@127.0.0.1:") and told.count("\n") == 1
    assert told.count("cannot be used (") == 1 and server[1][:8] not in told


def test_machines_that_make_the_tables_of_a_new_database_at_once_do_not_fail(database):
    """Several times, for they have to meet."""
    import psycopg

    address, name = os.environ[ADDRESS].rsplit("/", 1)
    for _ in range(3):
        with psycopg.connect(address.replace("+psycopg", "") + "/postgres", autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")
            connection.execute(f"create database {name}")

        def connect():
            while not (database / "now").exists():
                time.sleep(0.001)
            open_storage("tiny").get_all_studies()

        children = [in_a_process(connect) for _ in range(6)]
        (database / "now").touch()
        assert [ended(child) for child in children] == [0] * 6
        (database / "now").unlink()


def test_snakemake_lets_no_password_out_of_the_environment(database, server, monkeypatch):
    _, password = server
    address, secret = os.environ[ADDRESS], password[:8]
    before_at, after_at = address.split("@")
    asked = ("search", "--config", "suite=tiny", "extra=my", "study=depth")
    definitions(database, f"{{trials: 2, seeds: 1, space: {RATE}}}", epochs=1)
    monkeypatch.delenv(ADDRESS)
    configured = f"storage={before_at.rpartition(':')[0]}@{after_at}"
    monkeypatch.setenv("PGPASSWORD", password)
    told = snakemake(*asked, configured, folder=database)
    told += snakemake(*asked, configured, "--report", "provenance.html", folder=database)
    assert len(table(database)) == 2
    # A larger budget, so that there is something to do: with a wrong password, and with all of the address in the
    # environment.
    definitions(database, f"{{trials: 3, seeds: 1, space: {RATE}}}", epochs=1)
    monkeypatch.setenv("PGPASSWORD", f"wrong{password}")
    told += snakemake(*asked, configured, "--until", "begin_search", folder=database, check=False)
    failed = [log.read_text() for log in database.glob("results/tiny/logs/begin_search/*.log")]
    assert any("password authentication failed" in log for log in failed) and "Traceback" not in str(failed)
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv(ADDRESS, address)
    told += snakemake(*asked, "--until", "end_search", folder=database)
    assert len(table(database)) == 3 and not layout.journal("tiny").exists()
    assert secret not in told
    files = [path for path in database.rglob("*") if path.is_file()]
    assert any(".snakemake/metadata" in str(path) for path in files)
    assert not [path for path in files if secret.encode() in path.read_bytes()]
