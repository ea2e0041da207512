# The whole way from studies and suites in YAML to a report:
#
#   snakemake --cores 8 --resources gpu=2                        the suite `digits`
#   snakemake --cores 8 --resources gpu=2 --config suite=cifar10 another suite
#   snakemake --cores 8 depth                                    one study, with a report of its own
#   snakemake plain_width --cores 8 --config extra=my            definitions of your own in my/studies/, ...
#   snakemake --cores 8 all_studies                              every study of the suite
#   snakemake --cores 8 --config format=paper author="A. Student"  the PDF in two columns, with a name
#   snakemake search --cores 8 --config study=depth             tune every arm of a study, and report what changes
#   snakemake --profile workflow/profiles/slurm --config suite=cifar10    jobs of a cluster
#   snakemake -n                                                 what would be done
#   snakemake --report results/provenance.html                   where each result came from, in one file
#
# The DAG follows from the YAML alone. Rules call `python -m ablations VERB` and nothing else.


report: "workflow/captions/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/search.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/diagnose.smk"
include: "workflow/rules/report.smk"


# The report of the studies that the suite reports together, and one of each by itself.
rule all:
    default_target: True
    input:
        report_files("report") if plan.listed else report_of_nothing,
        [report_files(study) for study in plan.listed],


# Every study that the suite lists, each with its own report.
rule all_studies:
    input:
        [report_files(study) for study in plan.suite.studies],


# A study by its name: its own report.
for study in plan.studies:

    rule:
        name:
            study
        input:
            report_files(study),


# A study that this suite cannot run says why when it is asked for.
for study in plan.unfit:

    rule:
        name:
            study
        input:
            reason_against(study),


onsuccess:
    print(f"Reports lie in report/{suite}/; the verdicts again: {summary_command()}")


onerror:
    write_partial_reports(log)
