# Tuning: every arm of a study with the same budget of trials, by workers that share one list of them. Trials lie in a
# journal beside the results, or in a database (`--config storage=...`, $ABLATIONS_STORAGE).
# The arms' own runs come first: the report compares with them, and the first trials, which have the arms' own settings,
# find them in the store.
localrules:
    begin_search,
    end_search,


rule begin_search:
    input:
        data_files,
        ancient(own_arm_tables),
    output:
        touch("results/{suite}/{searched}/search/{content}/begun"),
    log:
        "results/{suite}/logs/begin_search/{searched}-{content}.log",
    conda:
        "../envs/ablations.yaml"
    message:
        "Listing the trials of {wildcards.searched}"
    shell:
        "python -m ablations search {wildcards.searched} --suite {wildcards.suite} --part begin > {log} 2>&1"


rule do_trials:
    input:
        "results/{suite}/{searched}/search/{content}/begun",
    output:
        touch("results/{suite}/{searched}/search/{content}/ended-{worker}"),
    log:
        "results/{suite}/logs/do_trials/{searched}-{content}-{worker}.log",
    benchmark:
        "results/{suite}/benchmarks/do_trials/{searched}-{content}-{worker}.tsv"
    retries: 2 * workflow.is_main_process
    conda:
        "../envs/ablations.yaml"
    threads: 1
    resources:
        gpu=gpus_of_a_job,
        mem_mb=memory_of_arms,
        runtime=minutes_of_arms,
    message:
        "Doing trials of {wildcards.searched} (worker {wildcards.worker})"
    shell:
        "python -m ablations search {wildcards.searched} --suite {wildcards.suite} --part work --threads {threads} > {log} 2>&1"


rule end_search:
    input:
        workers_of,
    output:
        "results/{suite}/{searched}/search/best.yaml",
        report(
            "results/{suite}/{searched}/search/trials.csv",
            caption="../captions/trials.rst",
            category="Study {searched}",
            labels={"shows": "trials (table)"},
        ),
    log:
        "results/{suite}/logs/end_search/{searched}.log",
    conda:
        "../envs/ablations.yaml"
    params:
        code=code("search/outcome.py", "search/trials.py", "space.py"),
    message:
        "Writing down what the search of {wildcards.searched} has found"
    shell:
        "python -m ablations search {wildcards.searched} --suite {wildcards.suite} --part end > {log} 2>&1"


# An arm with the settings found, over all seeds: runs like any other.
rule train_tuned:
    input:
        "results/{suite}/{searched}/search/best.yaml",
    output:
        touch("results/{suite}/{searched}-tuned/arms/{arm}.done"),
    log:
        "results/{suite}/logs/train_tuned/{searched}-{arm}.log",
    benchmark:
        "results/{suite}/benchmarks/train_tuned/{searched}-{arm}.tsv"
    retries: 2 * workflow.is_main_process
    conda:
        "../envs/ablations.yaml"
    threads: 1
    resources:
        gpu=gpus_of_a_job,
        mem_mb=memory_of_arms,
        runtime=minutes_of_arms,
    params:
        levels=levels_of_arm,
        seeds=lambda wildcards: plan.studies[wildcards.searched].seeds,
    message:
        "Training {wildcards.searched} {params.levels}, tuned"
    shell:
        "python -m ablations train {wildcards.searched}-tuned {params.levels} --suite {wildcards.suite} --threads {threads} > {log} 2>&1"


# `snakemake search --config study=depth`: the studies named, or all of the suite's report that have a search.
rule search:
    input:
        [report_files(f"{study}{TUNED}") for study in studies_to_search()],
