"""Two tables of verdicts side by side, with made-up verdicts: nothing is trained."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from conftest import write

from ablations import layout
from ablations.cli import main
from ablations.collect import read_table
from ablations.compare import Pair, pair_up
from ablations.config import Library
from ablations.contrasts import contrast
from ablations.statistics import Verdict

HEAD = "study,claim,verdict,reason,effect,low,high\n"
A = HEAD + (
    "depth,plain-networks-degrade-with-depth,supported,,66,54,78\n"
    "depth,residual-networks-do-not-degrade,supported,,0.1,-0.3,0.5\n"
    "depth,residual-networks-beat-plain-ones,supported,,-65,-75,-55\n"
    "layer_norm,small-batches-hurt-batch-norm,not tested,the study skips batch = 2,,,\n"
    "layer_norm,group-norm-bears-small-batches,inconclusive,,2,-1,5\n"
    "width,wider-is-better,refuted,,1,0.5,1.5\n"
)
B = HEAD + (
    "depth,residual-networks-beat-plain-ones,supported,,-48,-54,-42\n"
    "depth,plain-networks-degrade-with-depth,inconclusive,,3.02,-1,7.04\n"
    "depth,residual-networks-do-not-degrade,supported,,0.1,-0.3,0.5\n"
    "layer_norm,small-batches-hurt-batch-norm,not tested,0 and 0 runs; 2 of each are needed,,,\n"
    "layer_norm,group-norm-bears-small-batches,not tested,0 and 0 runs; 2 of each are needed,,,\n"
    "mine,own-claim,refuted,,-1.5,-2,-1\n"
)
TOLD = """\
- A: results/digits/report-verdicts.csv
- B: results/smoke/report-verdicts.csv

Claims in both: 5; verdicts unchanged: 3, changed: 2; effects moved: 2, equal: 1. Claims only in A: 1, only in B: 1.
"""
SECTIONS = """\
## Verdicts that changed

Deeper plain networks have higher training error (56 layers against 20). `depth: plain-networks-degrade-with-depth`

    A      supported     +66.00 pp [+54.00, +78.00]
    B      inconclusive  +3.02 pp [−1.00, +7.04]
    B - A  moved         −62.98 pp [−75.64, −50.32]

Group norm does not have a test error higher by a point or more at the smallest batch size than at 32. `layer_norm: group-norm-bears-small-batches`

    A      inconclusive  +2.00 pp [−1.00, +5.00]
    B      not tested    0 and 0 runs; 2 of each are needed

## Effects that moved, under the same verdict

At 56 layers the residual network has lower test error than the plain one. `depth: residual-networks-beat-plain-ones`

    A      supported     −65.00 pp [−75.00, −55.00]
    B      supported     −48.00 pp [−54.00, −42.00]
    B - A  moved         +17.00 pp [+5.34, +28.66]

## Claims only in A

    refuted       +1 [+0.5, +1.5]                   width: wider-is-better

## Claims only in B

    refuted       −1.5 [−2, −1]                     mine: own-claim

## Verdicts unchanged, effects not moved

    supported     +0.10 pp [−0.30, +0.50]           equal                             Deeper residual networks do not have a training error higher by a point or more (56 layers against 20).
    not tested    –                                 –                                 Batch norm has a higher test error at the smallest batch size than at 32.
"""


@pytest.fixture
def two(workspace):
    """Verdicts A of the suite digits and B of the suite smoke."""
    write(layout.verdicts("digits", "report"), A)
    write(layout.verdicts("smoke", "report"), B)
    return workspace


def compared(capsys, *arguments: str) -> str:
    """What the verb prints."""
    assert main(["compare", *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments: str) -> str:
    """The one message with which it ends."""
    assert main(["compare", *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    return told.err.removeprefix("ablations: ").strip()


def test_what_changed_and_what_moved(two, capsys):
    told = compared(capsys, "digits", "smoke", "--out", "changes")
    assert told.startswith(TOLD) and told.endswith(SECTIONS)
    assert (two / "changes" / "comparison.md").read_text() == told
    table = read_table(two / "changes" / "comparison.csv").set_index("claim")
    assert table["change"].to_dict() == {
        "plain-networks-degrade-with-depth": "changed",
        "residual-networks-do-not-degrade": "unchanged",
        "residual-networks-beat-plain-ones": "moved",
        "small-batches-hurt-batch-norm": "unchanged",
        "group-norm-bears-small-batches": "changed",
        "wider-is-better": "only in A",
        "own-claim": "only in B",
    }
    first = table.loc["plain-networks-degrade-with-depth"]
    assert first[["verdict_a", "verdict_b", "effect_a", "effect_b"]].tolist() == [
        *("supported", "inconclusive"),
        *(66, 3.02),
    ]
    assert first["difference"] == pytest.approx(-62.98)
    assert first["difference_high"] == pytest.approx(-62.98 + math.hypot(4.02, 12))
    assert table.loc["own-claim", ["verdict_a", "effect_a", "difference"]].isna().all()
    assert table.index[table["moved"]].tolist() == [
        "plain-networks-degrade-with-depth",
        "residual-networks-beat-plain-ones",
    ]
    assert table.index[table["equal"]].tolist() == ["residual-networks-do-not-degrade"]


def test_the_same_verdicts_are_equal(two, capsys):
    told = compared(capsys, "digits", "results/digits")
    assert "verdicts unchanged: 6, changed: 0; effects moved: 0, equal: 5. Claims only in A: 0" in told
    assert "very same" not in told  # without tables of runs, which say so
    write(layout.study_table("digits", "depth", "runs"), "run,seed\nab12,0\ncd34,1\n")
    assert "Both come from the very same 2 runs." in compared(capsys, "digits", "digits")
    write(layout.study_table("smoke", "depth", "runs"), "run,seed\nab12,0\nef56,1\nff78,2\n")
    assert "Runs behind A: 2, behind B: 3, behind both: 1." in compared(capsys, "digits", "smoke")


@pytest.mark.parametrize(
    ("a", "b", "moved"),
    [
        ((10, 7, 13), (14.5, 11, 18), False),  # each outside the other's interval, yet within chance
        ((10, 7, 13), (15.1, 11.1, 19.1), True),  # just more than sqrt(3^2 + 4^2) apart
        ((15.1, 11.1, 19.1), (10, 7, 13), True),
        ((10, 9, 20), (16, 12, 17), False),  # limits on the sides that face each other: 10 and 4
        ((16, 12, 17), (10, 9, 20), False),
        ((10, 7, 13), (math.nan, math.nan, math.nan), False),
        ((math.nan, math.nan, math.nan), (10, 7, 13), False),
        ((10, 10, 10), (10.5, 10.5, 10.5), True),  # counted, such as parameters
        ((10, 10, 10), (10 + 1e-12, 10 + 1e-12, 10 + 1e-12), False),
    ],
)
def test_an_effect_moves_out_of_the_interval_of_the_difference(a, b, moved):
    a, b = (Verdict("s", "c", "supported", effect=e, low=low, high=high) for e, low, high in (a, b))
    pair = Pair("s", "c", "", "", a, b)
    assert pair.moved == moved and pair.equal == (a.low == a.high and not moved)
    assert pair.change == ("moved" if moved else "unchanged")


@pytest.mark.parametrize("seeds", [2, 5, 30])
def test_an_effect_that_has_not_moved_seldom_seems_to(seeds):
    chance = np.random.default_rng(seeds)
    found = [
        contrast(chance.normal(0, [[[1]], [[3]]], (2, 4000, seeds)), (1, -1), 0).interval for _ in range(2)
    ]
    (a_low, a_high), (b_low, b_high) = found
    moved = [
        Pair(
            *("",) * 4,
            *(Verdict("", "", "", effect=(low + high) / 2, low=low, high=high) for low, high in sides),
        ).moved
        for (*sides,) in zip(zip(a_low, a_high, strict=True), zip(b_low, b_high, strict=True), strict=True)
    ]
    assert 0 <= np.mean(moved) < 0.06


def test_what_people_type_for_a_folder(two, capsys):
    write(two / "before" / layout.verdicts("digits", "report"), A)
    write(two / "before" / layout.verdicts("digits", "depth"), A)
    write(layout.verdicts("digits", "depth"), A)
    before = "- A: before/results/digits/report-verdicts.csv\n"
    for a in ("before", "before/results", "before/results/digits", "./before/results/"):
        assert before in compared(capsys, a, "results")
    # The other side is the suite that one side names, or --suite.
    assert "- B: results/smoke/report-verdicts.csv\n" in compared(capsys, "smoke", "results")
    assert "- B: results/smoke/report-verdicts.csv\n" in compared(
        capsys, "digits", "results", "--suite", "smoke"
    )
    told = compared(capsys, "before", "results", "--report", "depth")
    assert (
        "before/results/digits/depth-verdicts.csv" in told and "B: results/digits/depth-verdicts.csv" in told
    )


def test_bad_input_gets_one_message(two, capsys):
    assert refused(capsys, "digit", "smoke") == (
        f"digit: neither a suite (did you mean `digits`?) nor a folder. Give a suite "
        f"({', '.join(Library().names('suites'))}), a folder of results, results/<suite>, or a folder with results/ in it"
    )
    assert refused(capsys, "digits", "cifar10") == (
        "results/cifar10/report-verdicts.csv: not there yet; make it with: snakemake --cores all --config suite=cifar10"
    )
    assert refused(capsys, "digits", "smoke", "--report", "depth") == (
        "results/digits/depth-verdicts.csv: not there yet; make it with: snakemake depth --cores all --config "
        "suite=digits"
    )
    assert "unknown study `dept` (did you mean `depth`?)" in refused(
        capsys, "digits", "smoke", "--report", "dept"
    )
    assert refused(capsys, "results", "digits", "--suite", "cifar10") == (
        "results: no cifar10/report-verdicts.csv in it; there are digits/report-verdicts.csv, "
        "smoke/report-verdicts.csv: choose by --suite and --report"
    )
    (two / "empty").mkdir()
    assert refused(capsys, "digits", "empty") == (
        "empty: no digits/report-verdicts.csv in it; make it there with: snakemake --cores all --config suite=digits"
    )
    assert refused(capsys, "empty", "digits", "--suite", "digit").startswith(
        "unknown suite `digit` (did you mean"
    )
    assert refused(capsys, "digits", "smoke", "--out", "results/digits/report-verdicts.csv") == (
        "--out: found the file results/digits/report-verdicts.csv; give a folder, made where it is not there"
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "damaged (No columns to parse from file)"),
        (A.replace("effect", "efect"), "damaged (Usecols do not match columns"),
        (A.replace("66", "sixty"), "damaged (could not convert string to float"),
        (
            A[: A.index("supported") + 4],
            "line 2: damaged: found the verdict `supp`; there are supported, refuted",
        ),
        (
            A + A.splitlines()[1],
            "damaged: claim plain-networks-degrade-with-depth of study depth is there twice",
        ),
    ],
)
def test_damaged_tables_get_one_message(two, capsys, content, told):
    path = write(layout.verdicts("digits", "report"), content)
    message = refused(capsys, "digits", "smoke")
    assert message.startswith(str(path)) and told in message


def test_tables_without_claims(two, capsys):
    write(layout.verdicts("digits", "report"), HEAD)
    assert "Claims in both: 0" in compared(capsys, "digits", "digits", "--out", "changes")
    assert "Claims in both: 0;" in compared(capsys, "smoke", "digits")


def test_every_column_of_the_verdicts_is_read(two):
    pd.DataFrame(
        [
            vars(
                Verdict(
                    "depth", "plain-networks-degrade-with-depth", "supported", effect=1.5, low=1.0, high=2.0
                )
            )
        ]
    ).to_csv(layout.verdicts("digits", "report"), index=False)
    (pair,) = pair_up(Library(), *[layout.verdicts("digits", "report")] * 2)
    assert pair.equal and pair.metric == "train_error" and pair.a.effect == 1.5
