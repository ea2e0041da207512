"""The command line. Each verb imports what it needs, so that help and listings are quick."""

from __future__ import annotations

import argparse
import errno
import gc
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ablations import __version__, layout
from ablations.errors import Interrupted, UserError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

    from ablations.config import Dataset, Library
    from ablations.data import Prepared
    from ablations.plan import Arm, Plan, PlannedStudy

EXAMPLES = """examples:
  ablations list                                    studies, suites and data sets
  ablations show depth                              a study: question, factors, claims
  ablations plan depth --suite digits               its runs, what is cached, what the rest costs
  ablations train depth depth=20 --seeds 0 1        train some arms of a study without Snakemake
  ablations report --suite digits                   tables, figures and reports from what is trained
  ablations compare digits cifar10                  verdicts that changed, effects that moved
  ablations export --suite digits                   its runs and report in one file, for another machine
  ablations import digits.tar.gz                    the runs of another machine, into this store
  ablations verify                                  is all that is stored as it was written?

The whole way, in parallel and only what is missing:
  snakemake --cores 8 --resources gpu=2 --config suite=digits
"""


# No space, a quota reached, a file system that is read-only, no right to write.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
# A name that is too long, or that of what is no file, or no folder; a file system that fails.
UNUSABLE = (
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ELOOP,
    errno.EIO,
    errno.ESTALE,
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status: 0, 1 for faults and conflicts that were found, 2 for what the user can
    mend, 128 and a signal's number where one ended it."""
    options = parser().parse_args(arguments)
    try:
        return options.verb(options) or 0
    except UserError as error:
        print(f"ablations: {error}", file=sys.stderr)
        return 2
    except Interrupted as interrupted:
        print(f"ablations: {interrupted}", file=sys.stderr)
        return 128 + interrupted.number
    except KeyboardInterrupt:
        print("ablations: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `ablations list | head`
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in UNWRITABLE + UNUSABLE:
            raise
        full = error.errno in UNWRITABLE
        remedy = "once there is space and the right to write, " if full else "once it is mended, "
        print(
            f"ablations: {error.filename or 'the results'}: {error.strerror or error}. Nothing is half-written; {remedy}"
            "the same command goes on where it stopped.",
            file=sys.stderr,
        )
        return 2


def parser() -> argparse.ArgumentParser:
    """The verbs and their options."""
    top = argparse.ArgumentParser(
        prog="ablations",
        description="Ablations of convolutional networks: from studies in YAML to a report with verdicts.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"ablations {__version__}")
    verbs = top.add_subparsers(metavar="VERB", required=True)

    def add(
        verb: Callable[[argparse.Namespace], int | None], help: str, example: str
    ) -> argparse.ArgumentParser:
        name = verb.__name__.rstrip("_")
        each = verbs.add_parser(
            name,
            help=help,
            description=f"{help[0].upper()}{help[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        each.set_defaults(verb=verb)
        if verb is import_:
            return each
        each.add_argument(
            "--extra",
            metavar="DIR",
            default=os.environ.get("ABLATIONS_EXTRA") or None,
            help="folder with studies/, suites/, datasets/ of your own (default: $ABLATIONS_EXTRA)",
        )
        if verb not in (list_, compare, verify):
            each.add_argument("--suite", default="digits", help="suite to run in (default: digits)")
        return each

    add(list_, "list studies, suites and data sets", "ablations list --extra my")
    add(show, "show a study as a suite runs it", "ablations show depth --suite cifar10").add_argument("study")
    each = add(
        plan,
        "show runs, what is cached, and what the rest costs",
        "ablations plan depth --suite cifar10\n  ablations plan --resources --device cuda --suite cifar10",
    )
    each.add_argument("study", nargs="?", help="only this study (default: all that the suite lists)")
    each.add_argument(
        "--resources",
        action="store_true",
        help="estimate time, memory and disk of the jobs, and write them down for Snakemake",
    )
    each.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="what --resources is for (default: auto, as the newest run, or as this machine)",
    )
    add(prepare, "prepare the data of a suite", "ablations prepare --suite cifar10").add_argument(
        "--data", metavar="KEY", help="only the file of this key"
    )
    each = add(
        train,
        "train what the store lacks of a study",
        "ablations train depth shortcut=identity depth=20 --seeds 0 1",
    )
    each.add_argument("study", nargs="?", help="the study")
    each.add_argument("levels", nargs="*", metavar="FACTOR=LEVEL", help="only arms with these levels")
    each.add_argument("--seeds", nargs="+", type=int, help="only these seeds (default: the suite's)")
    each.add_argument("--job", help="a job of the plan, by name, instead of a study; writes its table too")
    each.add_argument(
        "--trial",
        metavar="N",
        type=int,
        help="with the settings of trial N of the search of each arm, over the search's seeds",
    )
    where_to_train(each)
    beyond_budget(each)
    each.add_argument(
        "--at-once",
        metavar="N",
        type=int,
        default=os.environ.get("ABLATIONS_AT_ONCE") or None,
        help="seeds that train at the same time in this process (default: $ABLATIONS_AT_ONCE, or all on a GPU, 1 on a "
        "processor)",
    )
    each = add(
        search,
        "tune every arm of a study, or continue to",
        "ablations search depth --suite digits\n  ABLATIONS_STORAGE=postgresql+psycopg://user@host/name ablations search "
        "depth",
    )
    each.add_argument("study", help="the study")
    each.add_argument(
        "--part",
        choices=("begin", "work", "end"),
        help="only make the list of trials, only do trials, or only write down what was found",
    )
    where_to_train(each)
    beyond_budget(each)
    add(
        cost, "count MACs, parameters and activations of a study's arms", "ablations cost depth"
    ).add_argument("study")
    add(collect, "gather a study's table of runs and history", "ablations collect depth").add_argument(
        "study"
    )
    add(
        diagnose, "measure the mechanisms that a study names on its networks", "ablations diagnose depth"
    ).add_argument("study")
    add(figures, "draw a study's figures", "ablations figures depth").add_argument("study")
    each = add(
        bench, "measure the engine's images a second beside the usual loop's", "ablations bench --repeats 3"
    )
    each.add_argument("--repeats", type=int, default=3, help="times that each way is measured (default: 3)")
    each.add_argument(
        "--batches", type=int, help="batches of 128 images an epoch (default: 40, on a GPU 1000)"
    )
    each.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    each.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="processor threads (default: all of them)"
    )
    each.add_argument("--out", metavar="DIR", help="write speeds.md and speeds.csv there")
    each = add(
        formats,
        "time the networks of a study in both memory formats",
        "ablations formats cardinality --suite cifar10",
    )
    each.add_argument("study", help="the study")
    each.add_argument("--steps", type=int, default=10, help="steps timed in each format (default: 10)")
    each.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    each.add_argument("--threads", type=int, default=1, help="processor threads (default: 1)")
    add(
        timing,
        "split a finished suite's wall time: training, start-up, report, scheduling",
        "ablations timing --suite smoke",
    ).add_argument(
        "--cores", type=int, help="cores given to Snakemake (default: the most that jobs took at a time)"
    )
    for verb, help in (
        (verdicts, "judge the claims of a report"),
        (report, "write report.md, .html and .pdf"),
        (summary, "print the verdicts of a report"),
    ):
        each = add(verb, help, f"ablations {verb.__name__} --suite digits")
        each.add_argument(
            "name", nargs="?", default="report", help="a study's own report (default: the suite's)"
        )
        if verb is report:
            how = each.add_mutually_exclusive_group()
            how.add_argument("--only", action="store_true", help="from tables and figures as they are")
            how.add_argument(
                "--partial",
                action="store_true",
                help="of what there is, after jobs of the workflow have failed; `snakemake` makes it again",
            )
            each.add_argument(
                "--format",
                choices=("course", "paper"),
                default="course",
                help="of the PDF: course, in one column, or paper, in two (default: course)",
            )
            each.add_argument(
                "--author",
                action="append",
                default=[],
                metavar="NAME",
                help="named under the title; may repeat",
            )
    each = add(
        compare,
        "show two suites, or two folders of results, side by side",
        "ablations compare digits cifar10\n  ablations compare ../before/results results --report depth --out changes",
    )
    for side in ("a", "b"):
        each.add_argument(
            side, metavar=side.upper(), help="a suite, a folder of results, or results/<suite> in one"
        )
    each.add_argument("--suite", help="suite in a folder of results (default: the other side's, or digits)")
    each.add_argument(
        "--report", metavar="STUDY", default="report", help="a study's own report (default: the suite's)"
    )
    each.add_argument("--out", metavar="DIR", help="write comparison.md and comparison.csv there")
    each = add(
        export,
        "pack the runs of a suite, its tables and report into one file",
        "ablations export --suite digits\n  ablations export depth --suite digits --weights --out depth.tar.gz",
    )
    each.add_argument("study", nargs="?", help="only this study (default: all of the suite that have runs)")
    each.add_argument(
        "--weights", action="store_true", help="with the weights of the runs, which diagnostics take"
    )
    each.add_argument(
        "--out", metavar="FILE", help="the file to write (default: SUITE.tar.gz, or SUITE-STUDY.tar.gz)"
    )
    each = add(
        import_, "merge the runs in archives into the store", "ablations import one.tar.gz other.tar.gz"
    )
    each.add_argument("archives", nargs="+", metavar="ARCHIVE", help="what `ablations export` has written")
    each.add_argument(
        "--any-engine",
        action="store_true",
        help="store runs of another engine version too, which no report of this version uses",
    )
    each = add(
        verify,
        "check that runs, data and tables are as they were written",
        "ablations verify\n  ablations verify depth --suite digits --rerun 2",
    )
    each.add_argument("study", nargs="?", help="only this study (default: all)")
    each.add_argument("--suite", help="only this suite (default: whatever is stored; of a study, digits)")
    each.add_argument(
        "--rerun", metavar="N", type=int, help="train N of the runs again, and compare them to the bit"
    )
    each.add_argument(
        "--seed", metavar="K", type=int, help="which runs are drawn (default: others each time)"
    )
    return top


def where_to_train(each: argparse.ArgumentParser) -> None:
    """The options of a verb that trains."""
    each.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    each.add_argument("--threads", type=int, default=1, help="processor threads (default: 1)")
    each.add_argument(
        "--runs-per-gpu",
        metavar="N",
        type=int,
        default=os.environ.get("ABLATIONS_RUNS_PER_GPU", "1"),
        help="training processes that may share a GPU (default: $ABLATIONS_RUNS_PER_GPU, or 1)",
    )
    each.add_argument(
        "--gpu-wait",
        metavar="HOURS",
        type=float,
        default=os.environ.get("ABLATIONS_GPU_WAIT", "24"),
        help="how long to wait for a GPU while all are taken (default: $ABLATIONS_GPU_WAIT, or 24)",
    )


def beyond_budget(each: argparse.ArgumentParser) -> None:
    """The option of a verb that asks before it trains more than the suite's budget."""
    each.add_argument("--yes", action="store_true", help="train, even if it is more than the suite's budget")


# ------------------------------------------------------------------------------------------ looking


def library(options: argparse.Namespace) -> Library:
    """The definitions that the options name."""
    from ablations.config import Library

    return Library(options.extra)


def planned(options: argparse.Namespace):
    """The plan of the suite that the options name. UserError where it does not fit."""
    from ablations.plan import make_plan

    return make_plan(library(options), options.suite)


def list_(options: argparse.Namespace) -> None:
    known = library(options)
    for kind, read in (("studies", known.study), ("suites", known.suite), ("datasets", known.dataset)):
        print(f"{kind}:")
        names = known.names(kind)
        for name in names:
            print(f"  {name:<{max(map(len, names))}}  {read(name).title}")


def show(options: argparse.Namespace) -> None:
    plan = planned(options)
    study = plan.study(options.study)
    print(f"{study.study.title}\n{study.study.question}\n\nfactors (suite {options.suite}):")
    for name, factor in study.factors.items():
        print(f"  {name}: {', '.join(level.label for level in factor.levels)}")
    if study.search:
        print(f"\nsearch: {study.search.trials} trials an arm, {study.search.seeds} seeds a trial")
        for path, dimension in study.search.space.items():
            print(f"  {path}: {dimension}")
    print(f"\n{len(study.arms)} arms x {len(study.seeds)} seeds\n\nclaims:")
    for name, claim in study.study.claims.items():
        print(f"  {name}: {claim.statement}\n    published: {claim.in_print} [{claim.source}]")


def plan(options: argparse.Namespace) -> None:
    from ablations.overview import demand, overview

    plan = planned(options)
    studies = [options.study] if options.study else plan.listed
    print(demand(plan, studies, options.device) if options.resources else overview(plan, studies))


# ------------------------------------------------------------------------------------------ the steps of the way


def prepare(options: argparse.Namespace) -> None:
    from ablations.data import SPLITS, in_words, prepare

    if options.data:
        datasets = named_data(library(options), options.data)
    else:
        plan = planned(options)
        datasets = {job.arm.data_key: job.arm.dataset for study in plan.listed for job in plan.jobs_of(study)}
    for key, dataset in datasets.items():
        prepared = prepare(dataset, layout.data(key))
        sizes = ", ".join(f"{len(getattr(prepared, name)):,} {name}" for name in SPLITS)
        shape = "x".join(map(str, prepared.shape))
        print(f"{layout.data(key)}: {sizes} images of {shape}, {len(prepared.classes)} classes")
        if prepared.treated:
            print(f"Of them, or of the files beside them: {in_words(prepared.treated)}")


def named_data(known: Library, key: str) -> dict[str, Dataset]:
    """The data set of a data key, `digits-1234abcd`, which no other definition has to be read for."""
    from ablations.plan import data_key

    name = key.rpartition("-")[0]
    if name not in (names := known.names("datasets")):
        raise UserError(f"unknown data key `{key}`; data sets: {', '.join(names)}")
    dataset = known.dataset(name)
    if (now := data_key(name, dataset)) != key:
        raise UserError(
            f"unknown data key `{key}`: {known.path('datasets', name)} has changed; now it is `{now}`"
        )
    return {key: dataset}


def train(options: argparse.Namespace) -> None:
    plan = planned(options)
    if (options.job is None) == (options.study is None):
        raise UserError("name a study, or a job with --job")
    if options.job is not None and options.trial is not None:
        raise UserError("--trial goes with a study, not with --job")
    positive(options, "threads", "runs_per_gpu", "at_once")
    check_wait(options)
    if options.job is not None:
        if options.job not in plan.jobs:
            raise UserError(
                f"unknown job `{options.job}`: the study or suite has changed since it was planned"
            )
        job = plan.jobs[options.job]
        work = {job.arm.id: (job.arm, job.seeds)}
    else:
        study = plan.study(options.study)
        arms, seeds = study.select(parse_levels(options.levels)), study.seeds
        if not arms:
            raise UserError(
                f"study {study.name} has no arm with {' '.join(options.levels)}: it skips this combination"
            )
        check_seeds(options.seeds or ())
        if options.trial is not None:
            arms, seeds = of_trial(options, searched(plan, study), arms), range(study.search.seeds)
        work = {arm.id: (arm, options.seeds or seeds) for arm in arms.values()}
        within_budget(options, plan, work.values())

    from ablations import data
    from ablations.files import write_text
    from ablations.store import Store, table
    from ablations.training.device import leasable, use
    from ablations.training.evaluation import Splits
    from ablations.training.job import train_arm
    from ablations.training.lease import leased

    gc.freeze()  # what is imported stays: to look through it again at exit takes a quarter of a second
    store = Store(layout.RESULTS)
    ready = prepared((arm for arm, _ in work.values()), make=options.job is None)
    wait = 3600 * options.gpu_wait
    with leased(leasable(options.device), options.runs_per_gpu, wait) as leased_device:
        device = use(options.device, options.threads, leased_device)
        splits = {key: Splits.of(prepared, device) for key, prepared in ready.items()}
        for arm, seeds in work.values():
            at_once = options.at_once or (len(seeds) if device.type == "cuda" else 1)
            snapshots = arm.id in plan.through_training
            train_arm(arm, seeds, splits[arm.data_key], store, at_once, snapshots)
            if options.job is not None:
                rows = store.rows(arm, seeds, data.read_header(layout.data(arm.data_key)))
                write_text(layout.arm_table(options.suite, options.job), table(rows))


def searched(plan: Plan, study: PlannedStudy) -> PlannedStudy:
    """The study, which has a search. UserError for others."""
    from ablations.plan import TUNED

    if study.name.endswith(TUNED):
        raise UserError(f"{study.name} is the outcome of a search; search {study.name.removesuffix(TUNED)}")
    if study.search is None:
        raise UserError(f"{plan.library.path('studies', study.name)}: the study has no `search`")
    return study


def of_trial(
    options: argparse.Namespace, study: PlannedStudy, arms: Mapping[tuple[str, ...], Arm]
) -> dict[tuple[str, ...], Arm]:
    """Arms with the settings of the trial that the options name. UserError where there is no such trial."""
    from ablations.search.storage import open_storage, told_without_password
    from ablations.search.trials import arm_of_trial

    with told_without_password():
        storage = open_storage(options.suite)
        return {key: arm_of_trial(options.suite, study, key, options.trial, storage) for key in arms}


def search(options: argparse.Namespace) -> None:
    plan = planned(options)
    study = searched(plan, plan.study(options.study))
    positive(options, "threads", "runs_per_gpu")
    check_wait(options)
    if options.part is None:
        runs = study.search.trials * study.search.seeds
        within_budget(options, plan, trials=[(arm, runs) for arm in study.arms.values()])

    from ablations.search.storage import open_storage, told_without_password

    storage = open_storage(options.suite)
    with told_without_password():
        do_parts(options, study, storage)


def within_budget(
    options: argparse.Namespace,
    plan: Plan,
    arms: Iterable[tuple[Arm, Iterable[int]]] = (),
    trials: Iterable[tuple[Arm, int]] = (),
) -> None:
    """UserError where some arms with their seeds, or trials of arms, are more than the suite's budget, unless the user
    has said yes."""
    from ablations import budget, gpus

    if not options.yes:
        kind = "cuda" if options.device != "cpu" and gpus.visible() else "cpu"
        budget.check(plan, budget.planned(plan, arms, kind, trials), plan.suite.budget, "--yes")


def do_parts(options: argparse.Namespace, study: PlannedStudy, storage: BaseStorage) -> None:
    """The parts of a search, or the one that the options name."""
    from ablations.search.storage import alive
    from ablations.search.trials import begin

    if options.part != "end":
        ready = prepared(study.arms.values(), make=options.part is None)  # a search is of its images
    if options.part in (None, "begin"):
        begin(options.suite, study, storage)
    if options.part in (None, "work"):
        from ablations.search.training import Runs
        from ablations.search.worker import Worker
        from ablations.store import Store
        from ablations.training.device import leasable, use
        from ablations.training.evaluation import Splits
        from ablations.training.lease import leased

        wait = 3600 * options.gpu_wait
        with (
            leased(leasable(options.device), options.runs_per_gpu, wait) as leased_device,
            alive(options.suite) as name,
        ):
            device = use(options.device, options.threads, leased_device)
            splits = {key: Splits.of(each, device) for key, each in ready.items()}
            Worker(options.suite, study, storage, name, Runs(splits, Store(layout.RESULTS))).work()
    if options.part in (None, "end"):
        from ablations.search.outcome import write_outcome

        write_outcome(options.suite, study, storage)


def prepared(arms: Iterable[Arm], make: bool) -> dict[str, Prepared]:
    """The data of arms by their data key, made first where they are not there and `make` says so."""
    from ablations import data

    ready = {}
    for arm in {arm.data_key: arm for arm in arms}.values():
        path = layout.data(arm.data_key)
        if make and not path.is_file():
            data.prepare(arm.dataset, path)
        ready[arm.data_key] = data.read(path)
    return ready


def bench(options: argparse.Namespace) -> None:
    from dataclasses import asdict
    from pathlib import Path

    from ablations.benchmark import compare, markdown
    from ablations.files import write_text
    from ablations.store import table
    from ablations.training.device import use
    from ablations.training.environment import environment

    positive(options, "repeats", "batches", "threads")
    device = use(options.device, options.threads)
    batches = options.batches or (1000 if device.type == "cuda" else 40)
    speeds = compare(batches, options.repeats, device, lambda line: print(line, file=sys.stderr))
    text = markdown(speeds, environment(device))
    print(text)
    if options.out:
        write_text(Path(options.out) / "speeds.md", text + "\n")
        write_text(Path(options.out) / "speeds.csv", table([asdict(speed) for speed in speeds]))


def formats(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from ablations.files import write_text
    from ablations.memory_format import measure
    from ablations.store import table
    from ablations.training.device import use
    from ablations.training.evaluation import Splits

    positive(options, "steps", "threads")
    study = planned(options).study(options.study)
    device = use(options.device, options.threads)
    arms = {(arm.model, arm.recipe.batch_size, arm.recipe.precision): arm for arm in study.arms.values()}
    splits = {key: Splits.of(each, device) for key, each in prepared(arms.values(), make=True).items()}
    timings = measure(list(arms.values()), splits, options.steps, lambda timing: print(timing, flush=True))
    rows = [{**asdict(timing), "faster": timing.faster} for timing in timings]
    write_text(layout.study_table(options.suite, options.study, "formats"), table(rows))


MOST = {"threads": 1000, "runs_per_gpu": 1000}  # what a machine can start


def positive(options: argparse.Namespace, *names: str) -> None:
    """UserError where one of these options is less than 1, or more than can be."""
    for name in names:
        value, most = getattr(options, name), MOST.get(name, math.inf)
        if value is not None and not 1 <= value <= most:
            allowed = "1 or more" if most == math.inf else f"1 to {most:,}"
            raise UserError(f"--{name.replace('_', '-')}: found {value}; give {allowed}")


def timing(options: argparse.Namespace) -> None:
    from ablations.timing import timing

    print(timing(planned(options), options.cores))


def check_wait(options: argparse.Namespace) -> None:
    """UserError where the hours to wait for a GPU are none."""
    if not 0 <= options.gpu_wait < math.inf:
        raise UserError(f"--gpu-wait: found {options.gpu_wait}; give hours, 0 or more")


def check_seeds(seeds: Sequence[int]) -> None:
    """UserError where a seed is negative, or there twice."""
    for seed in seeds:
        if not 0 <= seed < 2**63 or seeds.count(seed) > 1:  # what tables hold
            raise UserError(
                f"--seeds: found {', '.join(map(str, seeds))}; give numbers from 0 to 2^63, each once"
            )


def parse_levels(texts: Iterable[str]) -> dict[str, str]:
    """The level of each factor, of texts `FACTOR=LEVEL`. UserError for anything else."""
    levels: dict[str, str] = {}
    for text in texts:
        factor, equals, level = text.partition("=")
        if not equals:
            raise UserError(f"`{text}`: levels are given as FACTOR=LEVEL, such as depth=20")
        if factor in levels:
            raise UserError(
                f"`{text}`: a level of {factor} is there already; give one, or none for all of them"
            )
        levels[factor] = level
    return levels


def cost(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from ablations import data
    from ablations.cost import count
    from ablations.files import write_text
    from ablations.store import table

    study = planned(options).study(options.study)
    counted, rows, faults = {}, {}, []
    for arm in study.arms.values():
        path = layout.data(arm.data_key)
        header = data.read_header(path)
        if header is None:
            raise UserError(
                f"{path}: no prepared data yet; make it with: ablations prepare --suite {options.suite}"
            )
        what = (arm.model, header.shape, header.classes)
        try:
            if what not in counted:
                counted[what] = count(*what)
                print(f"{arm.name:<16} {counted[what]}", flush=True)
        except UserError as error:
            faults.append(f"{arm.name}: {error}")
            continue
        rows[arm.id] = {"arm": arm.id, **asdict(counted[what])}
    if rows:
        write_text(layout.study_table(options.suite, options.study, "cost"), table(list(rows.values())))
    if faults:
        raise UserError("\n".join(dict.fromkeys(faults)))


def collect(options: argparse.Namespace) -> None:
    from ablations.collect import collect

    collect(planned(options), options.study)


def diagnose(options: argparse.Namespace) -> None:
    import torch

    from ablations.diagnostics import diagnose

    torch.set_num_threads(1)
    diagnose(planned(options), options.study)


def figures(options: argparse.Namespace) -> None:
    from ablations.figures import draw

    draw(planned(options), options.study)


def verdicts(options: argparse.Namespace) -> None:
    from ablations.verdicts import write_verdicts

    write_verdicts(planned(options), options.name)


def report(options: argparse.Namespace) -> None:
    from ablations.options import Options
    from ablations.report import write_report
    from ablations.schema import validate

    authors = validate(Options, {"author": options.author}, "report").author
    plan = planned(options)
    if not options.only:
        for study in plan.reported(options.name):
            make_tables(options, plan, study)
        verdicts(options)
    write_report(plan, options.name, options.format, authors)
    if not options.only:
        summary(options)


def make_tables(options: argparse.Namespace, plan: Plan, study: PlannedStudy) -> None:
    """Tables and figures of a study from its runs; after a failure only those that the workflow has not made."""
    from ablations.collect import forget, has_runs, is_complete, renew_later

    options.study = study.name
    if not has_runs(study):  # the report says so
        forget(plan, study.name)
    elif not options.partial:
        for step in (cost, collect, *([diagnose] if study.study.diagnostics else []), figures):
            step(options)
    elif not is_complete(plan, study):
        if not layout.study_table(plan.suite_name, study.name, "cost").is_file():
            try:
                cost(options)
            except UserError as error:  # of some arms, whose costs are missing then
                print(error, file=sys.stderr)
        for step in (collect, figures):
            step(options)
        renew_later(plan, study.name)


def summary(options: argparse.Namespace) -> None:
    from ablations.report import summary

    print(summary(planned(options), options.name))


def compare(options: argparse.Namespace) -> None:
    from pathlib import Path

    from ablations.collect import write_table
    from ablations.compare import locate, pair_up, table, text
    from ablations.files import write_text

    if options.out and Path(options.out).is_file():
        raise UserError(f"--out: found the file {options.out}; give a folder, made where it is not there")
    known = library(options)
    named = [side for side in (options.a, options.b) if side in known.names("suites")]
    suite = options.suite or next(iter(named), "digits")
    a, b = (locate(known, side, suite, options.report) for side in (options.a, options.b))
    pairs = pair_up(known, a, b)
    told = text(pairs, a, b)
    print(told)
    if options.out:
        write_text(Path(options.out) / "comparison.md", told + "\n")
        write_table(table(pairs), Path(options.out) / "comparison.csv")


def export(options: argparse.Namespace) -> None:
    from pathlib import Path

    from ablations.sharing import export

    name = f"{options.suite}-{options.study}" if options.study else options.suite
    out = Path(options.out or f"{name}.tar.gz")
    if out.is_dir():
        raise UserError(f"--out: found the folder {out}; give a file, such as {out / f'{name}.tar.gz'}")
    export(planned(options), options.study, out, options.weights)


def import_(options: argparse.Namespace) -> int:
    from pathlib import Path

    from ablations.merging import CONFLICT, REFUSED, import_archives, told

    outcomes = import_archives([Path(archive) for archive in options.archives], options.any_engine)
    print(told(outcomes))
    return 1 if outcomes[CONFLICT] or outcomes[REFUSED] else 0


def verify(options: argparse.Namespace) -> int:
    from ablations.verification import verify

    positive(options, "rerun")
    if options.seed is not None and options.rerun is None:
        raise UserError("--seed draws the runs of --rerun; give both")
    suite = options.suite or ("digits" if options.study else None)
    checked = verify(library(options), suite, options.study)
    print(checked)
    differing = rerun(checked.runs, options.rerun, options.seed) if options.rerun else 0
    return 1 if checked.faults or differing else 0


def rerun(runs: list[str], number: int, seed: int | None) -> int:
    """Train some runs again; how many of them have come to other bits without a reason."""
    import random
    from collections import Counter

    from ablations.store import Store
    from ablations.training.again import DIFFERENT, choose, train_again

    store, seed = Store(layout.RESULTS), random.randrange(1000) if seed is None else seed
    chosen = choose(store, runs, number, seed)
    print(f"Trained again are {len(chosen)} of {len(runs)} runs, drawn by --seed {seed}", flush=True)
    found = Counter(train_again(each, store) for each in chosen)
    print(f"Trained again: {', '.join(f'{count} {what}' for what, count in found.items())}")
    return found[DIFFERENT]
