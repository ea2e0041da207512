# Mechanisms of a study, measured on its networks at initialisation and as trained.
rule diagnose:
    input:
        arm_tables,
        data_files,
    output:
        report(
            directory("results/{suite}/{study}/diagnostics"),
            patterns=["{mechanism}.csv"],
            caption="../captions/diagnostic.rst",
            category="Study {study}",
            labels={"shows": "{mechanism} (table)"},
        ),
    log:
        "results/{suite}/logs/diagnose/{study}.log",
    benchmark:
        "results/{suite}/benchmarks/diagnose/{study}.tsv"
    conda:
        "../envs/ablations.yaml"
    resources:
        mem_mb=4000,
    params:
        diagnostics=diagnostics,
        code=code("diagnostics/*.py", "mechanisms.py", "models/*.py"),
    message:
        "Measuring the mechanisms of {wildcards.study}"
    shell:
        "python -m ablations diagnose {wildcards.study} --suite {wildcards.suite} > {log} 2>&1"
