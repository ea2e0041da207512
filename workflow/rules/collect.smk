# Costs of a study's arms, and its table of runs.
rule cost:
    input:
        data_files,
        lambda wildcards: search_files(wildcards.study),
    output:
        "results/{suite}/{study}/cost.csv",
    log:
        "results/{suite}/logs/cost/{study}.log",
    benchmark:
        "results/{suite}/benchmarks/cost/{study}.tsv"
    conda:
        "../envs/ablations.yaml"
    resources:
        mem_mb=2000,
    params:
        arms=arms,
        code=code("cost.py", "networks.py", "models/*.py"),
    message:
        "Counting MACs and parameters of {wildcards.study}"
    shell:
        "python -m ablations cost {wildcards.study} --suite {wildcards.suite} > {log} 2>&1"


rule collect:
    input:
        arm_tables,
        cost="results/{suite}/{study}/cost.csv",
    output:
        runs=report(
            "results/{suite}/{study}/runs.csv",
            caption="../captions/runs.rst",
            category="Study {study}",
            labels={"shows": "runs (table)"},
        ),
        history="results/{suite}/{study}/history.csv",
    log:
        "results/{suite}/logs/collect/{study}.log",
    benchmark:
        "results/{suite}/benchmarks/collect/{study}.tsv"
    conda:
        "../envs/ablations.yaml"
    params:
        arms=arms,
        target=lambda wildcards: study_of(wildcards.study).target_error,
        code=code("collect.py", "store.py", "networks.py"),
    message:
        "Collecting the runs of {wildcards.study}"
    shell:
        "python -m ablations collect {wildcards.study} --suite {wildcards.suite} > {log} 2>&1"
