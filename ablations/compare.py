"""Two tables of verdicts side by side: which verdicts changed, which effects moved. A suite against another, or
results from before and after a change."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ablations import layout
from ablations.collect import read_table
from ablations.config import Claim, Library, with_minus
from ablations.errors import UserError
from ablations.findings import change, numeral
from ablations.schema import suggestion
from ablations.statistics import Verdict

VERDICTS = ("supported", "refuted", "inconclusive", "not tested")
READ = {
    **dict.fromkeys(("study", "claim", "verdict", "reason"), str),
    **dict.fromkeys(("effect", "low", "high"), float),
}
CHANGES = {
    "changed": "Verdicts that changed",
    "moved": "Effects that moved, under the same verdict",
    "only in A": "Claims only in A",
    "only in B": "Claims only in B",
    "unchanged": "Verdicts unchanged, effects not moved",
}
DEFINITION = (
    "An effect moved where the 95 % interval of the difference B - A excludes 0 (the half-widths of both intervals, "
    "squared and added); then each effect lies outside the other's interval. Of those that did not move, at most one "
    "in twenty seems to, by chance."
)


@dataclass(frozen=True)
class Pair:
    """A claim with its verdicts in A and in B, None where a table lacks it. `statement` and `metric` are empty where
    the library does not have the claim."""

    study: str
    claim: str
    statement: str
    metric: str
    a: Verdict | None
    b: Verdict | None

    @property
    def difference(self) -> tuple[float, float, float]:
        """Effect of B - effect of A with its 95 % interval, the distances of both effects from their own limits
        squared and added (Zou and Donner 2008): the degrees of freedom of each are in its own interval. It takes A
        and B as independent, and is too wide where they share runs. NaN where one of them has no effect."""
        if self.a is None or self.b is None:
            return math.nan, math.nan, math.nan
        a, b = self.a, self.b
        difference = b.effect - a.effect
        below = math.hypot(b.effect - b.low, a.high - a.effect)
        above = math.hypot(b.high - b.effect, a.effect - a.low)
        return difference, difference - below, difference + above

    @property
    def moved(self) -> bool:
        """Whether that interval excludes 0, and not by rounding."""
        _, low, high = self.difference
        return not self.equal and (low > 0 or high < 0)

    @property
    def equal(self) -> bool:
        """Whether both have the same effect and interval, but for rounding, as from the same runs."""
        if self.a is None or self.b is None:
            return False
        numbers = ((each.effect, each.low, each.high) for each in (self.a, self.b))
        return all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) for a, b in zip(*numbers, strict=True))

    @property
    def change(self) -> str:
        """The first of CHANGES that holds."""
        if self.b is None:
            return "only in A"
        if self.a is None:
            return "only in B"
        if self.a.verdict != self.b.verdict:
            return "changed"
        return "moved" if self.moved else "unchanged"


# ------------------------------------------------------------------------------------------ reading


def locate(library: Library, where: str, suite: str, report: str) -> Path:
    """The table of verdicts of a report: that of the suite called `where`, or the one in the folder `where`, which
    is results/<suite>, or holds the results of `suite`, or has a folder `results` that does. UserError where there
    is none."""
    if where in library.names("suites"):
        path = layout.verdicts(where, report)
        if path.is_file():
            return path
        raise UserError(f"{path}: not there yet; make it with: {command(library, where, report)}")
    folder = Path(where)
    if not folder.is_dir():
        known = library.names("suites")
        raise UserError(
            f"{where}: neither a suite{suggestion(where, known)} nor a folder. Give a suite ({', '.join(known)}), a "
            "folder of results, results/<suite>, or a folder with results/ in it"
        )
    path = layout.verdicts(suite, report)
    wanted = path.relative_to(layout.RESULTS)
    for candidate in (folder / path.name, folder / wanted, folder / path):
        if candidate.is_file():
            return candidate
    there = [
        str(table.relative_to(folder))
        for pattern in ("", "*/", f"{layout.RESULTS}/*/")
        for table in sorted(folder.glob(f"{pattern}*-verdicts.csv"))
    ]
    if there:
        raise UserError(
            f"{where}: no {wanted} in it; there are {', '.join(there)}: choose by --suite and --report"
        )
    raise UserError(f"{where}: no {wanted} in it; make it there with: {command(library, suite, report)}")


def command(library: Library, suite: str, report: str) -> str:
    """What makes the verdicts of a report. UserError where there is no such suite or report."""
    library.path("suites", suite)
    study = "" if report == "report" else f"{library.path('studies', report).stem} "
    extra = f" extra={library.extra}" if library.extra else ""
    return f"snakemake {study}--cores all --config suite={suite}{extra}"


def read_verdicts(path: Path) -> dict[tuple[str, str], Verdict]:
    """The verdicts of a table, by study and claim. UserError where it is damaged."""
    table = read_table(path, usecols=[*READ], dtype=READ).fillna(
        dict.fromkeys(("study", "claim", "verdict", "reason"), "")
    )
    for row, verdict in enumerate(table["verdict"], start=2):
        if verdict not in VERDICTS:
            raise UserError(
                f"{path}, line {row}: damaged: found the verdict `{verdict}`; there are {', '.join(VERDICTS)}"
            )
    verdicts = {(row["study"], row["claim"]): Verdict(**row) for row in table.to_dict("records")}
    if len(verdicts) < len(table):
        twice = table[table.duplicated(["study", "claim"])].iloc[0]
        raise UserError(f"{path}: damaged: claim {twice['claim']} of study {twice['study']} is there twice")
    return verdicts


def pair_up(library: Library, a: Path, b: Path) -> list[Pair]:
    """The claims of two tables of verdicts, those of A in its order, then what only B has."""
    of_a, of_b = read_verdicts(a), read_verdicts(b)
    pairs = []
    for key in of_a | of_b:
        claim = known_claim(library, *key)
        words = (claim.statement, claim.metric) if claim else ("", "")
        pairs.append(Pair(*key, *words, of_a.get(key), of_b.get(key)))
    return pairs


def known_claim(library: Library, study: str, claim: str) -> Claim | None:
    """The definition of a claim, where the library has it."""
    return library.study(study).claims.get(claim) if study in library.names("studies") else None


def runs_of(path: Path, pairs: list[Pair]) -> set[str]:
    """Ids of the runs behind a table of verdicts, from the tables of runs beside it."""
    tables = (path.parent / study / "runs.csv" for study in {pair.study for pair in pairs})
    return {run for table in tables if table.is_file() for run in read_table(table, usecols=["run"])["run"]}


# ------------------------------------------------------------------------------------------ telling


def text(pairs: list[Pair], a: Path, b: Path) -> str:
    """What changed from A to B, for a terminal and as Markdown."""
    of_each = Counter(pair.change for pair in pairs)
    both = [pair for pair in pairs if pair.a and pair.b]
    moved, equal = sum(pair.moved for pair in both), sum(pair.equal for pair in both)
    lines = [
        f"- A: {a}",
        f"- B: {b}",
        "",
        f"Claims in both: {len(both)}; verdicts unchanged: {len(both) - of_each['changed']}, changed: "
        f"{of_each['changed']}; effects moved: {moved}, equal: {equal}. Claims only in A: {of_each['only in A']}, only "
        f"in B: {of_each['only in B']}.",
        *shared_runs(runs_of(a, pairs), runs_of(b, pairs)),
        "",
        DEFINITION,
    ]
    for kind, heading in CHANGES.items():
        chosen = [pair for pair in pairs if pair.change == kind]
        if chosen:
            lines += ["", f"## {heading}"]
            if kind in ("changed", "moved"):
                lines += [line for pair in chosen for line in block(pair)]
            else:
                lines += ["", *(one_line(pair) for pair in chosen)]
    return "\n".join(lines)


def shared_runs(a: set[str], b: set[str]) -> list[str]:
    """How many runs A and B have in common, in a sentence; none where a side's tables of runs are not there."""
    if not a or not b:
        return []
    if a == b:
        return [f"Both come from the very same {len(a):,} runs."]
    return [f"Runs behind A: {len(a):,}, behind B: {len(b):,}, behind both: {len(a & b):,}."]


def block(pair: Pair) -> list[str]:
    """A claim with the verdict on it in A, in B, and the difference of the effects."""
    name = f"`{pair.study}: {pair.claim}`"
    lines = ["", f"{pair.statement} {name}".strip(), ""]
    for side, verdict in (("A", pair.a), ("B", pair.b)):
        lines.append(
            f"    {side:<5}  {verdict.verdict:<12}  {effect(verdict, pair.metric) or verdict.reason}"
        )
    if pair.equal:
        lines.append("    B - A  equal")
    elif not math.isnan(pair.difference[0]):
        told = "moved" if pair.moved else "not moved"
        lines.append(f"    B - A  {told:<12}  {with_interval(pair.metric, *pair.difference)}")
    return lines


def one_line(pair: Pair) -> str:
    """A claim with its verdict and the effect in each table that has it."""
    sides = [verdict for verdict in (pair.a, pair.b) if verdict]
    told = [effect(verdict, pair.metric) or "–" for verdict in sides]
    if pair.equal:
        told[1] = "equal"
    effects = "  ".join(f"{each:<32}" for each in told)
    return f"    {sides[0].verdict:<12}  {effects}  {pair.statement or f'{pair.study}: {pair.claim}'}"


def effect(verdict: Verdict, metric: str) -> str:
    """The effect as printed; empty where the claim was not tested."""
    tested = verdict.verdict != "not tested"
    return with_interval(metric, verdict.effect, verdict.low, verdict.high) if tested else ""


def with_interval(metric: str, value: float, low: float, high: float) -> str:
    """A difference as printed, with its interval unless it was counted; without unit where the metric is unknown."""
    if metric:
        told, limits = change(metric, value), [numeral(metric, limit, "+") for limit in (low, high)]
    else:
        told, *limits = (with_minus(f"{number:+.3g}") for number in (value, low, high))
    return told if low == high else f"{told} [{', '.join(limits)}]"


def table(pairs: list[Pair]) -> pd.DataFrame:
    """A row a claim: what changed, both sides, B - A; empty cells where a side has nothing."""
    return pd.DataFrame([row(pair) for pair in pairs])


def row(pair: Pair) -> dict[str, Any]:
    """The cells of a claim."""
    cells = {"study": pair.study, "claim": pair.claim, "statement": pair.statement, "change": pair.change}
    for side, verdict in (("a", pair.a), ("b", pair.b)):
        cells |= {
            f"{name}_{side}": getattr(verdict, name, None) for name in ("verdict", "effect", "low", "high")
        }
    difference, low, high = pair.difference
    cells |= {"difference": difference, "difference_low": low, "difference_high": high}
    return cells | {"moved": pair.moved, "equal": pair.equal}
