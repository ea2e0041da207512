# Costs of a study's arms, and its table of runs.


rule cost:
    input:
        lambda wildcards: data_files(wildcards.study),
    output:
        f"results/{suite}/{{study}}/cost.csv",
    log:
        f"results/{suite}/logs/cost/{{study}}.log",
    resources:
        mem_mb=2000,
    params:
        arms=lambda wildcards: [
            arm.id for arm in plan.studies[wildcards.study].arms.values()
        ],
    message:
        "Counting MACs and parameters of {wildcards.study}"
    shell:
        "ablations cost {wildcards.study} {options} > {log} 2>&1"


rule collect:
    input:
        lambda wildcards: arm_tables(wildcards.study),
        cost=f"results/{suite}/{{study}}/cost.csv",
    output:
        runs=report(
            f"results/{suite}/{{study}}/runs.csv",
            caption="../captions/runs.rst",
            category="{study}",
            labels={"shows": "table of runs"},
        ),
        history=f"results/{suite}/{{study}}/history.csv",
    log:
        f"results/{suite}/logs/collect/{{study}}.log",
    params:
        arms=lambda wildcards: study_slice(wildcards.study),
    message:
        "Collecting the runs of {wildcards.study}"
    shell:
        "ablations collect {wildcards.study} {options} > {log} 2>&1"
