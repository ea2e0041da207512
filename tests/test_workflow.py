"""The whole way by Snakemake, as a user runs it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import CIFAR10_JPEG, ROOT, TINY, encoded, small_depth, snakemake, write
from test_folders import put

from ablations.collect import read_table
from ablations.config import Library
from ablations.plan import data_key


def trained(folder: Path) -> dict[str, int]:
    """Runs in the store with the time of their metrics."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("results/runs/*/metrics.json")}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    snakemake("--resources", "gpu=1", "--config", "suite=smoke", folder=folder)
    return folder


def test_smoke_ends_with_three_reports(smoke):
    assert len(trained(smoke)) == 12
    markdown, html, pdf = (
        smoke / "report" / "smoke" / f"report.{ending}" for ending in ("md", "html", "pdf")
    )
    assert pdf.read_bytes().startswith(b"%PDF-")
    page = html.read_text()
    assert "<math" in page and "data:image/svg+xml" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#|https://doi)[^"]*"', page)  # nothing outside the file
    text = markdown.read_text()
    assert "Does depth hurt a plain network" in text and "[@" not in text and "{#" not in text
    assert str(ROOT) not in text
    for figure in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (markdown.parent / figure).is_file()
        assert (markdown.parent / figure).with_suffix(".csv").is_file()


def test_numbers_in_the_report_come_from_the_table(smoke):
    runs = read_table(smoke / "report" / "smoke" / "report-runs.csv", dtype={"depth": str})
    text = re.sub(" +", " ", (smoke / "report" / "smoke" / "report.md").read_text())
    for _, arm in runs.groupby(["shortcut", "depth"]):
        row = next(
            line
            for line in text.splitlines()
            if line.startswith(f"| {arm['shortcut'].iloc[0]} | {arm['depth'].iloc[0]} |")
        )
        assert f"| {len(arm)} |" in row
        assert (
            f"| {arm['test_error'].mean():.2f} \\[" in row and f"| {arm['train_error'].mean():.2f} \\[" in row
        )
    verdicts = read_table(smoke / "results" / "smoke" / "report-verdicts.csv")
    effect = runs[runs["depth"] == "56"].groupby("shortcut")["test_error"].mean()
    stated = verdicts.set_index("claim").loc["residual-networks-beat-plain-ones", "effect"]
    assert stated == pytest.approx(effect["none"] - effect["identity"])


def test_a_second_time_nothing_is_done(smoke):
    before = trained(smoke)
    assert "Nothing to be done" in snakemake("--config", "suite=smoke", folder=smoke)
    assert trained(smoke) == before


def test_histories_match_the_runs(smoke):
    runs = read_table(smoke / "results" / "smoke" / "depth" / "runs.csv")
    history = read_table(smoke / "results" / "smoke" / "depth" / "history.csv")
    assert set(history["run"]) == set(runs["run"]) and (history.groupby("run")["epoch"].max() == 2).all()


def test_the_parts_of_the_wall_time_sum_to_the_whole(smoke):
    done = ablations("timing", "--suite", "smoke", folder=smoke)
    assert done.returncode == 0, done.stderr
    assert "on 2 cores, in 1 invocation" in done.stdout
    parts = read_table(smoke / "results" / "smoke" / "timing.csv").set_index("part")
    seconds = parts["core_seconds"]
    assert (seconds > 0).all()
    assert seconds.drop("whole").sum() == pytest.approx(seconds["whole"])
    files = smoke.glob("results/**/benchmarks/**/*.tsv")
    measured = sum(pd.read_csv(path, sep="\t")["s"].sum() for path in files)
    assert seconds.drop(["whole", "scheduling"]).sum() == pytest.approx(measured)
    runs = read_table(smoke / "results" / "smoke" / "depth" / "runs.csv")
    assert seconds["training"] <= runs["seconds"].sum() + 0.01  # less where seeds train at the same time
    assert parts["jobs"].dropna().tolist() == [6, 6, 1, 8, 15] and parts["runs"].dropna().tolist() == [12, 12]


def test_snakemakes_own_report(smoke):
    snakemake("--config", "suite=smoke", "--report", "provenance.html", folder=smoke)
    page = (smoke / "provenance.html").read_text()
    assert "smoke</tt>: where each result came from" in page
    shown = json.loads(re.search(r"var categories = (.*?);\n", page)[1])
    assert set(shown) == {"Report", "Study depth"}
    files = {path for category in shown.values() for paths in category.values() for path in paths}
    in_report = ("figures/depth/*.svg", "*.html", "*.pdf")
    in_results = ("*-verdicts.csv", "depth/runs.csv", "depth/diagnostics/*.csv")
    patterns = [
        *(f"report/smoke/{each}" for each in in_report),
        *(f"results/smoke/{each}" for each in in_results),
    ]
    made = {str(path.relative_to(smoke)) for pattern in patterns for path in smoke.glob(pattern)}
    assert files == made and "report/smoke/figures/depth/error-by-depth.svg" in files
    captions = re.findall(r'"caption": "(.*?)(?<!\\)"', page)
    assert len(captions) == len(files)
    assert all(
        caption.startswith("<p>") and "smoke" in caption and "{" not in caption for caption in captions
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A suite of two networks that has come to its end."""
    folder = tmp_path_factory.mktemp("tiny")
    write(folder / "my" / "suites" / "tiny.yaml", TINY.format(seeds=1))
    write(folder / "my" / "studies" / "depth.yaml", small_depth())
    snakemake(*OWN, folder=folder)
    return folder


@pytest.fixture
def tiny(finished, tmp_path):
    """The same, for a test of its own."""
    return shutil.copytree(finished, tmp_path, dirs_exist_ok=True)


OWN = ("--config", "suite=tiny", "extra=my")
REPORT = ("report/tiny/report.md", *OWN)  # without the study's own beside it


def test_what_changes_trains_only_what_is_new(tiny):
    before = trained(tiny)
    assert len(before) == 2

    # A caption and a title change the report and train nothing.
    path = tiny / "my" / "studies" / "depth.yaml"
    path.write_text(
        path.read_text()
        .replace("Error against depth", "Fehler")
        .replace("title: Depth of", "title: On the depth of")
    )
    output = snakemake(*REPORT, folder=tiny)
    assert "Training " not in output and "Drawing the figures" in output
    assert trained(tiny) == before
    assert "On the depth of" in (tiny / "report" / "tiny" / "report.md").read_text()

    # One more seed trains one run an arm; those of the first seed stay as they are.
    write(tiny / "my" / "suites" / "tiny.yaml", TINY.format(seeds=2))
    snakemake(*REPORT, folder=tiny)
    after = trained(tiny)
    assert len(after) == 4 and before.items() <= after.items()

    # A lost report folder is made again from the tables, without training.
    for file in (tiny / "report" / "tiny").glob("report.*"):
        file.unlink()
    snakemake(*REPORT, folder=tiny)
    assert trained(tiny) == after
    assert (tiny / "report" / "tiny" / "report.pdf").is_file()


def test_the_commands_that_the_report_prints_run(tiny):
    text = (tiny / "report" / "tiny" / "report.md").read_text()
    whole = re.search(r"^    snakemake +(.*)$", text, re.MULTILINE)[1]
    assert "Nothing to be done" in snakemake(*whole.replace("--cores all", "").split(), folder=tiny)
    one = re.search(r"ablations (train .*)", text)[1]
    done = ablations(*one.split(), folder=tiny)
    assert done.returncode == 0 and "seed 0: cached" in done.stdout


def test_a_report_without_snakemake_and_without_claims(tmp_path):
    write(tmp_path / "my" / "suites" / "tiny.yaml", TINY.format(seeds=1))
    study = (ROOT / "ablations" / "studies" / "depth.yaml").read_text()
    head, _, figures = study.partition("claims:")
    write(tmp_path / "my" / "studies" / "depth.yaml", head + "figures:" + figures.partition("figures:")[2])
    assert ablations("train", "depth", "--suite", "tiny", "--extra", "my", folder=tmp_path).returncode == 0
    done = ablations("report", "--suite", "tiny", "--extra", "my", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report" / "tiny" / "report.pdf").is_file()


def test_the_ablation_of_ones_own_in_the_readme(tmp_path):
    readme = (ROOT / "README.md").read_text()
    study = re.search(r"```yaml\n(.*?)```", readme, re.DOTALL)[1]
    write(tmp_path / "my" / "studies" / "plain_width.yaml", study)
    command = re.search(r"^snakemake (plain_width .*)$", readme, re.MULTILINE)[1]
    output = snakemake("-n", *command.replace("--cores 8", "").split(), folder=tmp_path)
    assert re.search(r"train +4\n", output)


def test_a_study_by_name_and_the_dry_run(tmp_path):
    write(tmp_path / "my" / "suites" / "tiny.yaml", TINY.format(seeds=1))
    output = snakemake("-n", "depth", *OWN, folder=tmp_path)
    assert "report/tiny/depth.md" in output
    assert re.search(r"train +2\n", output)
    assert not (tmp_path / "results").exists()


def test_wrong_input_ends_in_one_message(tmp_path):
    output = snakemake("-n", "--config", "suite=digit", folder=tmp_path, check=False)
    assert "unknown suite `digit` (did you mean `digits`?)" in output and "Traceback" not in output
    write(tmp_path / "my" / "suites" / "tiny.yaml", TINY.format(seeds=0))
    output = snakemake("-n", *OWN, folder=tmp_path, check=False)
    assert (
        "my/suites/tiny.yaml: seeds: found 0; should be greater than 0" in output
        and "Traceback" not in output
    )


def test_an_image_folder_is_prepared_again_when_images_come_or_go(tmp_path):
    images = [encoded(np.full((4, 4, 3), i, np.uint8)) for i in range(20)]
    put({f"{'dog' if i % 2 else 'cat'}/{i}.png": image for i, image in enumerate(images)}, tmp_path / "pets")
    (tmp_path / "pets" / "{y}").mkdir()  # no wildcard of Snakemake's
    (tmp_path / "pets" / "notes.txt").touch()
    dataset = "{title: pets, source: folder, path: pets, validation: 4, test: 4}"
    write(tmp_path / "my" / "datasets" / "pets.yaml", dataset)
    write(tmp_path / "my" / "suites" / "tiny.yaml", TINY.format(seeds=1).replace("digits-small", "pets"))
    key = data_key("pets", Library(tmp_path / "my").dataset("pets"))
    prepared = f"results/data/{key}.safetensors"
    snakemake(prepared, *OWN, folder=tmp_path)
    assert (tmp_path / "results" / "logs" / "prepare" / f"{key}.log").read_text() == (
        f"{prepared}: 12 train, 4 validation, 4 test images of 3x4x4, 2 classes\n"
        "Of them, or of the files beside them: 1 left out (folder without images), 1 left out (no image ending)\n"
    )
    assert "Nothing to be done" in snakemake(prepared, *OWN, folder=tmp_path)
    (tmp_path / "pets" / "cat" / "20.png").write_bytes(images[0])
    assert "Preparing data" in snakemake("-n", prepared, *OWN, folder=tmp_path)


@pytest.mark.skipif(not CIFAR10_JPEG.is_dir(), reason=f"no CIFAR-10 (JPEG) files in {CIFAR10_JPEG}")
def test_cifar10_jpeg_the_whole_way(tmp_path):
    dataset = f"{{title: CIFAR-10 (JPEG), source: parquet, path: {CIFAR10_JPEG}, train: 256, validation: 50, test: 100}}"
    write(tmp_path / "my" / "datasets" / "cifar10-jpeg.yaml", dataset)
    write(
        tmp_path / "my" / "suites" / "tiny.yaml", TINY.format(seeds=1).replace("digits-small", "cifar10-jpeg")
    )
    write(tmp_path / "my" / "studies" / "depth.yaml", small_depth())
    snakemake(*REPORT, folder=tmp_path)
    runs = pd.read_csv(tmp_path / "report" / "tiny" / "report-runs.csv")
    assert len(runs) == 2 and (runs["test_images"] == 100).all()
    assert runs["macs"].between(12e6, 13e6).all()  # ResNet-8 at 32x32
    assert "CIFAR-10 (JPEG)" in (tmp_path / "report" / "tiny" / "report.md").read_text()


def ablations(*arguments: str, folder: Path):
    command = [
        sys.executable,
        "-c",
        "import sys; from ablations.cli import main; sys.exit(main())",
        *arguments,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_the_command_line(tmp_path):
    assert "examples:" in ablations("--help", folder=tmp_path).stdout
    for verb in ("list", "show", "plan", "train", "cost", "report", "compare"):
        assert "example:" in ablations(verb, "--help", folder=tmp_path).stdout
    assert "depth" in ablations("list", folder=tmp_path).stdout
    assert "Does depth hurt" in ablations("show", "depth", folder=tmp_path).stdout
    assert "12 runs, 0 cached" in ablations("plan", "--suite", "smoke", folder=tmp_path).stdout
    done = ablations(
        "train", "depth", "depth=8", "shortcut=none", "--suite", "smoke", "--seeds", "0", folder=tmp_path
    )
    assert done.returncode == 0 and "epoch 2/2" in done.stdout
    assert "12 runs, 1 cached" in ablations("plan", "--suite", "smoke", folder=tmp_path).stdout
    wrong = ablations("train", "dept", folder=tmp_path)
    assert wrong.returncode == 2 and wrong.stderr.startswith("ablations: unknown study `dept` (did you mean")
