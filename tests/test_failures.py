"""A run that fails does not stop the others, and the report tells of it."""

from __future__ import annotations

import subprocess

import pytest
from conftest import environment, snakemake, snakemake_command, write

from ablations import layout
from ablations.collect import read_table
from ablations.config import Library
from ablations.failures import LINES, WIDTH, failures, last_lines
from ablations.plan import make_plan

SUITE = """
title: tiny
data: digits-small
seeds: 2
recipe: {epochs: 1, batch_size: 64, learning_rate: 0.05}
studies: {networks: {}}
"""
STUDY = """
title: Two networks
question: Which of them can be built?
background: None.
factors:
  kind:
    good: {model.depth: 8, model.widths: [4, 8, 16]}
    bad: {model.family: timm, model.model: %s}
claims: {}
figures:
  errors: {kind: levels, x: kind, y: [test_error], colour: kind, title: Errors}
"""
OWN = ("--config", "suite=tiny", "extra=my")
REPORT = ("report/tiny/report.md", *OWN)  # without the study's own beside it


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A folder in which the one of two arms has failed, and what Snakemake and the report said."""
    folder = tmp_path_factory.mktemp("failed")
    write(folder / "my" / "suites" / "tiny.yaml", SUITE)
    write(folder / "my" / "studies" / "networks.yaml", STUDY % "no_such_network")
    command = snakemake_command("--retries", "0", *OWN)
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    return folder, done


def test_the_others_are_trained_and_the_exit_status_tells(failed):
    folder, done = failed
    assert done.returncode == 1
    assert len(list(folder.glob("results/runs/*/metrics.json"))) == 2
    assert "Not finished:\n  training no_such_network (bad), seeds 0, 1" in done.stdout, done.stdout[-3000:]


def test_the_report_is_made_and_names_what_failed_with_the_end_of_its_log(failed):
    folder, _ = failed
    report = layout.REPORT / "tiny"
    text = (folder / report / "report.md").read_text()
    assert "2 of the 4 runs of networks are missing: kind bad (seeds 0 and 1)" in text
    assert "Training no_such_network (bad), seeds 0, 1, `results/tiny/logs/train/" in text
    assert "\n    ablations: model: timm" in text and "has no network `no_such_network`" in text
    assert (folder / report / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert "no_such_network" in (folder / report / "report.html").read_text()
    assert len(read_table(folder / report / "report-runs.csv")) == 2


def test_once_it_is_mended_only_what_is_missing_is_trained_and_the_report_is_whole(failed):
    folder, _ = failed
    before = {path: path.stat().st_mtime_ns for path in folder.glob("results/runs/*/metrics.json")}
    good, _, rest = STUDY.partition("    bad:")
    mended = "    bad: {model.depth: 8, model.widths: [4, 4, 4]}\n"
    write(folder / "my" / "studies" / "networks.yaml", good + mended + rest.partition("\n")[2])
    output = snakemake(*REPORT, folder=folder)
    assert output.count("Training resnet-8") == 1  # the good arm is there
    after = {path: path.stat().st_mtime_ns for path in folder.glob("results/runs/*/metrics.json")}
    assert len(after) == 4 and before.items() <= after.items()
    text = (folder / "report" / "tiny" / "report.md").read_text()
    assert "are missing:" not in text and "Some jobs" not in text


def test_a_damaged_run_is_set_aside_and_trained_by_the_same_command(failed, monkeypatch):
    folder, _ = failed
    runs = layout.study_table("tiny", "networks", "runs")
    expected = read_table(folder / runs)
    history = sorted(folder.glob("results/runs/*/history.csv"))[0]
    history.write_text(history.read_text()[:-5])
    (folder / runs).unlink()
    for path in (folder / layout.REPORT / "tiny").glob("*.*"):
        path.unlink()
    told = snakemake(*REPORT, folder=folder, check=False)
    assert "Not finished:\n  training resnet-8" in told
    log = (folder / layout.log("tiny", "collect", "networks")).read_text()
    assert "1 damaged run of networks set aside; the same command again" in log
    report = (folder / layout.REPORT / "tiny" / "report.md").read_text()
    assert "1 of the 4 runs of networks is missing" in report
    output = snakemake(*REPORT, folder=folder)
    assert output.count("Training resnet-8") == 1
    same = ["run", "seed", "test_error", "train_error", "validation_loss"]
    assert read_table(folder / runs)[same].equals(expected[same])


def test_the_last_lines_of_a_log_are_few_and_short(tmp_path):
    log = write(tmp_path / "x.log", "\n".join(["a"] * 50 + ["", "b" * 1000, "\x1b[31mred", ""]))
    told = last_lines(log)
    assert len(told) == LINES and told[0] == "a" and len(told[-2]) == WIDTH and told[-1] == "[31mred"


def test_a_job_that_printed_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = make_plan(Library(), "smoke")
    job = next(iter(plan.jobs.values()))
    write(layout.log("smoke", "train", job.name), "")
    (failure,) = failures(plan, plan.study("depth"))
    assert failure.last_lines == () and "seeds 0, 1" in failure.work
    write(layout.arm_table("smoke", job.name), "run\n")
    assert not failures(plan, plan.study("depth"))
