"""The half page that a report opens with: what was tested, what held, what did not, and what is not settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ablations.config import TUNED, listing

NEAR = 50  # seeds an arm that a user might still train
MOST_CLAIMS = 8  # told of each verdict; Table 1 has them all


def opening(
    rows: Sequence[Mapping[str, Any]], verdicts: pd.DataFrame, runs: int, datasets: str, seeds: str
) -> dict[str, Any]:
    """The summary in parts. `rows` are the verdicts as shown, `verdicts` the same as numbers, in the same order."""
    told = Counter(row["verdict"] for row in rows)
    counts = listing(
        [f"{count} {'is' if count == 1 else 'are'} {verdict}" for verdict, count in told.items()]
    )
    tuned = any(row["study"].endswith(TUNED) for row in rows)
    alike = (
        "each with the settings that a search found for it"
        if tuned
        else "the arms of a study alike but for what it varies"
    )
    claims = "statement" if len(rows) == 1 else "statements"
    return {
        "tested": (
            f"{runs:,} networks were trained on {datasets}, {seeds} seeds an arm (a network with its training), {alike}, "
            f"to put {len(rows)} {claims} about convolutional networks to the test: {counts}."
        )
        if rows
        else f"{runs:,} networks were trained on {datasets}, {seeds} seeds an arm; the report has no claims to test.",
        "lists": [
            {"title": verdict.capitalize(), "claims": claims_with(rows, verdict)}
            for verdict in ("supported", "refuted")
            if told[verdict]
        ],
        "undecided": undecided(rows, verdicts),
    }


def claims_with(rows: Sequence[Mapping[str, Any]], verdict: str) -> list[str]:
    """The claims with a verdict, each with its effect, as Markdown; the first few of many."""
    told = [
        f"[{row['statement'].rstrip('.')}](#claim-{row['study']}-{row['claim']}): {row['effect']}"
        for row in rows
        if row["verdict"] == verdict
    ]
    more = len(told) - MOST_CLAIMS
    return told if more <= 0 else [*told[:MOST_CLAIMS], f"and {more} more in [](#tbl-verdicts)"]


def undecided(rows: Sequence[Mapping[str, Any]], verdicts: pd.DataFrame) -> str:
    """What it takes to settle the inconclusive claims; empty where there are none."""
    if not any(row["verdict"] == "inconclusive" for row in rows):
        return ""
    waiting = verdicts[verdicts["verdict"] == "inconclusive"]
    sentence = (
        "Inconclusive means that the seeds trained do not tell, not that there is no difference: effects, or their "
        "distances from the smallest that matters, are too small beside the spread between seeds."
    )
    near = waiting[waiting["seeds_needed"] <= NEAR]
    if len(near):
        least = near["seeds_needed"].min()
        statements = [
            f"“{rows[verdicts.index.get_loc(index)]['statement'].rstrip('.')}”"
            for index in near.index[near["seeds_needed"] == least]
        ]
        sentence += (
            f" Nearest to a verdict, for or against, with {least:.0f} seeds an arm if effects are as large as seen: "
            f"{listing(statements)}."
        )
    return sentence
