from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import write
from hypothesis import given
from hypothesis import strategies as st

from ablations.config import Dataset, Library, Recipe
from ablations.errors import UserError
from ablations.networks import ResNet
from ablations.plan import Arm, Run, content_id, identity, make_plan

RECIPE = {"epochs": 3, "batch_size": 64, "learning_rate": 0.1}
DATASET = Dataset(title="digits", source="digits", validation=180, test=360)


def run(model=None, recipe=None, seed=0, fingerprint="f", dataset=DATASET, name="digits"):
    arm = Arm(ResNet(**{"depth": 20, **(model or {})}), Recipe(**{**RECIPE, **(recipe or {})}), dataset, name)
    return Run(arm, seed, fingerprint)


def test_ids_are_pinned():
    # Changed ids orphan everything that was trained before: raise ENGINE_VERSION only on purpose.
    assert run().id == "e35f4d6ab8044641"
    assert run().arm.id == "8d48ee7c216fb72c"


@given(st.permutations(list(RECIPE.items())))
def test_key_order_does_not_matter(items):
    assert run(recipe=dict(items)).id == run().id
    assert content_id(dict(items)) == content_id(RECIPE)


def test_defaults_spelled_out_or_left_out_are_the_same():
    recipe = Recipe(**RECIPE).model_dump()
    model = ResNet(depth=20).model_dump()
    assert run(model=model, recipe=recipe).id == run().id


def test_integers_where_numbers_are_meant_are_the_same():
    assert run(recipe={"warmup": 1}).id == run(recipe={"warmup": 1.0}).id


FIELDS = [("recipe", field) for field in Recipe.model_fields]
FIELDS += [("model", field) for field in ResNet.model_fields if field != "family"]


@pytest.mark.parametrize(("part", "field"), FIELDS)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_every_number_that_matters_changes_the_id(part, field):
    before = run()
    whole = getattr(before.arm, part)
    other = 12345 if getattr(whole, field) != 12345 else 54321  # whether it is valid does not matter here
    changed = replace(before.arm, **{part: whole.model_copy(update={field: other})})
    assert changed.id != before.arm.id
    assert Run(changed, before.seed, before.fingerprint).id != before.id


def test_seed_and_data_change_the_id():
    assert len({run().id, run(seed=1).id, run(fingerprint="g").id}) == 3


@pytest.mark.parametrize("field", [{"train": 100}, {"validation": 100}, {"test": 100}, {"noise": 0.5}])
def test_the_definition_of_the_data_changes_the_arm(field):
    assert run(dataset=DATASET.model_copy(update=field)).arm.id != run().arm.id


def test_names_and_titles_change_nothing():
    renamed = run(dataset=DATASET.model_copy(update={"title": "other"}), name="other")
    assert renamed.id == run().id
    assert renamed.arm.id == run().arm.id


def test_a_field_added_later_renames_nothing():
    whole = Recipe(**Recipe(**RECIPE).model_dump())  # as stored with a run: every field, defaults too
    assert identity(whole) == RECIPE


def test_engine_version_changes_every_id(monkeypatch):
    before = run()
    assert before.id and before.arm.id
    monkeypatch.setattr("ablations.plan.ENGINE_VERSION", 99)
    assert run().id != before.id
    assert run().arm.id != before.arm.id


STUDY = """
title: widths
question: q
background: b
factors:
  depth: [8, 14]
  size: {narrow: {model.widths: [8, 16, 32]}, wide: {widths: [16, 32, 64], recipe.epochs: 5}}
"""
SUITE = """
title: s
data: digits
seeds: 3
seeds_per_job: 2
recipe: {epochs: 2, batch_size: 32, learning_rate: 0.1}
studies: {widths: {levels: {size: [wide], depth: [14, 20]}}, depth: {levels: {depth: [14]}, recipe: {epochs: 5}}}
"""


@pytest.fixture
def library(tmp_path):
    write(tmp_path / "studies" / "widths.yaml", STUDY)
    write(tmp_path / "suites" / "mine.yaml", SUITE)
    return Library(tmp_path)


def test_factors_set_fields_and_suites_narrow_and_extend_levels(library):
    study = make_plan(library, "mine").study("widths")
    assert list(study.arms) == [("14", "wide"), ("20", "wide")]
    arm = study.arms["20", "wide"]
    assert (arm.model.depth, arm.model.widths, arm.recipe.epochs) == (20, (16, 32, 64), 5)


def test_arms_that_studies_share_are_trained_once(library):
    plan = make_plan(library, "mine")
    shared = plan.study("widths").arms["14", "wide"]
    assert shared.id == plan.study("depth").arms["identity", "14"].id
    assert len(plan.arm_jobs[shared.id]) == 2  # three seeds in jobs of two
    assert [job.seeds for job in plan.arm_jobs[shared.id]] == [(0, 1), (2,)]
    assert set(plan.jobs_of("widths")) & set(plan.jobs_of("depth"))


@pytest.mark.parametrize(
    ("of_suite", "of_study", "found"),
    [("null", "null", None), ("10", "null", 10), ("10", "0", 0), ("null", "40", 40)],
)
def test_a_target_is_the_studys_or_the_suites_and_changes_no_run(
    library, tmp_path, of_suite, of_study, found
):
    before = make_plan(library, "mine")
    suite = SUITE.replace("depth: {levels", f"depth: {{target_error: {of_study}, levels")
    write(tmp_path / "suites" / "mine.yaml", f"{suite}target_error: {of_suite}\n")
    after = make_plan(Library(tmp_path), "mine")
    assert after.study("depth").target_error == found
    assert after.study("widths").target_error == (None if of_suite == "null" else float(of_suite))
    assert after.jobs == before.jobs


def test_unlisted_studies_are_planned_but_not_reported(library):
    plan = make_plan(library, "digits")
    assert "widths" in plan.studies and "widths" not in plan.listed
    assert [study.name for study in plan.reported("widths")] == ["widths"]
    assert [study.name for study in plan.reported("report")] == plan.listed


@pytest.mark.parametrize(
    ("suite", "told"),
    [
        (
            SUITE.replace("depth: [14, 20]", "depth: [14, 21]"),
            "arm depth = 21, size = wide: model: a network of 3 stages of basic blocks has 6n + 2 layers, n >= 1; found depth 21; valid near it: 20 and 26",
        ),
        (
            SUITE.replace("size: [wide]", "size: [large]"),
            "studies.widths.levels.size: unknown level large; known: narrow, wide",
        ),
        (SUITE.replace("size: [wide]", "sizes: [wide]"), "no such factor (did you mean `size`?)"),
        (SUITE.replace("studies: {widths", "studies: {widhts"), "unknown study (did you mean `widths`?)"),
        (SUITE.replace("data: digits", "data: digit"), "unknown data set `digit` (did you mean `digits`?)"),
        (SUITE.replace("batch_size: 32, ", ""), "recipe.batch_size: missing"),
    ],
)
def test_suites_that_do_not_fit(tmp_path, suite, told):
    write(tmp_path / "studies" / "widths.yaml", STUDY)
    write(tmp_path / "suites" / "mine.yaml", suite)
    with pytest.raises(UserError) as error:
        make_plan(Library(tmp_path), "mine")
    assert told in str(error.value)


def test_a_suites_report_may_name_some_of_its_studies(tmp_path):
    write(tmp_path / "suites" / "mine.yaml", SUITE.replace("title: s", "title: s\nreport: [depth]"))
    write(tmp_path / "studies" / "widths.yaml", STUDY)
    assert make_plan(Library(tmp_path), "mine").listed == ["depth"]
    write(tmp_path / "suites" / "mine.yaml", SUITE.replace("title: s", "title: s\nreport: [dept]"))
    with pytest.raises(UserError, match="`dept` is not among this suite's studies"):
        make_plan(Library(tmp_path), "mine")


def test_combinations_that_a_study_skips_are_no_arms(tmp_path):
    skipping = STUDY + "skip: [{size: narrow, depth: [14]}, {depth: 8, size: wide}]\n"
    write(tmp_path / "studies" / "widths.yaml", skipping)
    study = make_plan(Library(tmp_path), "digits").study("widths")
    assert list(study.arms) == [("8", "narrow"), ("14", "wide")]
    write(tmp_path / "studies" / "widths.yaml", STUDY + "skip: [{size: [narrow, wide]}]\n")
    assert "`skip` leaves no arm" in make_plan(Library(tmp_path), "digits").unfit["widths"]


def test_first_and_last_levels(library):
    study = make_plan(library, "mine").study("widths")
    assert list(study.select({"depth": "first"})) == [("14", "wide")]
    assert list(study.select({"depth": "last", "size": "last"})) == [("20", "wide")]


def test_a_study_that_a_suite_cannot_run_harms_nothing_but_itself(tmp_path):
    write(tmp_path / "studies" / "odd.yaml", STUDY.replace("depth: [8, 14]", "depth: [8, 15]"))
    plan = make_plan(Library(tmp_path), "digits")
    assert set(plan.studies) == set(Library().names("studies")) and list(plan.unfit) == ["odd"]
    with pytest.raises(UserError, match=r"odd.yaml in .*digits.yaml: arm depth = 15, size = narrow: model: "):
        plan.study("odd")


def test_selecting_arms(library):
    study = make_plan(library, "mine").study("widths")
    assert list(study.select({"depth": 20})) == [("20", "wide")]
    with pytest.raises(UserError, match=r"no factor `dept` \(did you mean `depth`\?\)"):
        study.select({"dept": 20})
    with pytest.raises(UserError, match="no level `8` in this suite; known: 14, 20"):
        study.select({"depth": 8})


def test_planning_imports_nothing_heavy():
    code = (
        "import sys; from ablations.config import Library; from ablations.plan import make_plan;"
        "make_plan(Library(), 'digits'); print(*{'torch', 'pandas', 'numpy', 'matplotlib'} & set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == ""
    )


def test_nothing_after_training_imports_torch():
    code = (
        "import sys, ablations.collect, ablations.statistics, ablations.figures, ablations.report, ablations.overview;"
        "print(*{'torch', 'torchvision', 'timm'} & set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == ""
    )
