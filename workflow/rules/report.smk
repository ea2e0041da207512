# Figures of a study, verdicts over the claims of a report, and the report.
rule figures:
    input:
        "results/{suite}/{study}/runs.csv",
        "results/{suite}/{study}/history.csv",
        lambda wildcards: diagnostic_tables(wildcards.study),
        lambda wildcards: search_files(wildcards.study),
    output:
        report(
            directory("report/{suite}/figures/{study}"),
            patterns=["{figure}.svg"],
            caption="../captions/figure.rst",
            category="Study {study}",
            labels={"shows": "{figure}"},
        ),
    log:
        "results/{suite}/logs/figures/{study}.log",
    benchmark:
        "results/{suite}/benchmarks/figures/{study}.tsv"
    conda:
        "../envs/ablations.yaml"
    params:
        figures=figures,
        code=code(
            "figures.py",
            "contrasts.py",
            "figure_data.py",
            "plotting.py",
            "diagnostic_figures.py",
            "mechanisms.py",
            "space.py",
            "statistics.py",
            "tuning.py",
            "tuning_figures.py",
        ),
    message:
        "Drawing the figures of {wildcards.study}"
    shell:
        "python -m ablations figures {wildcards.study} --suite {wildcards.suite} > {log} 2>&1"


rule verdicts:
    input:
        lambda wildcards: expand(
            "results/{{suite}}/{study}/runs.csv", study=studies_of(wildcards)
        ),
    output:
        report(
            "results/{suite}/{name}-verdicts.csv",
            caption="../captions/verdicts.rst",
            category=category_of_report,
            labels={"shows": "verdicts (table)"},
        ),
    log:
        "results/{suite}/logs/verdicts/{name}.log",
    benchmark:
        "results/{suite}/benchmarks/verdicts/{name}.tsv"
    conda:
        "../envs/ablations.yaml"
    params:
        claims=claims,
        code=code(
            "verdicts.py",
            "collect.py",
            "contrasts.py",
            "resampling.py",
            "statistics.py",
        ),
    message:
        "Judging the claims of {wildcards.name}"
    shell:
        "python -m ablations verdicts {wildcards.name} --suite {wildcards.suite} > {log} 2>&1"


rule report:
    input:
        lambda wildcards: expand(
            "results/{{suite}}/{study}/{table}.csv",
            study=studies_of(wildcards),
            table=["runs", "history"],
        ),
        lambda wildcards: expand(
            "report/{{suite}}/figures/{study}", study=studies_of(wildcards)
        ),
        lambda wildcards: diagnostic_tables(*studies_of(wildcards)),
        "results/{suite}/{name}-verdicts.csv",
        lambda wildcards: search_files(wildcards.name),
        lambda wildcards: of_the_study_untuned(wildcards.name),
        template=workflow.source_path("../../report/template.md.j2"),
        page=workflow.source_path("../../report/page.html"),
        style=workflow.source_path("../../report/style.css"),
        script=workflow.source_path("../../report/report.js"),
        numbers=workflow.source_path("../../report/numbers.lua"),
        plain=workflow.source_path("../../report/plain.lua"),
        paper=workflow.source_path("../../report/paper.typ"),
        references=workflow.source_path("../../report/references.bib"),
    output:
        "report/{suite}/{name}.md",
        "report/{suite}/{name}-runs.csv",
        html=report(
            "report/{suite}/{name}.html",
            caption="../captions/report.rst",
            category=category_of_report,
            labels={"shows": "report (HTML)"},
        ),
        pdf=report(
            "report/{suite}/{name}.pdf",
            caption="../captions/report.rst",
            category=category_of_report,
            labels={"shows": "report (PDF)"},
        ),
    log:
        "results/{suite}/logs/report/{name}.log",
    benchmark:
        "results/{suite}/benchmarks/report/{name}.tsv"
    conda:
        "../envs/ablations.yaml"
    params:
        text=text,
        form=options.format,
        authors=authors_as_options(),
        code=code(
            "report.py",
            "captions.py",
            "contrasts.py",
            "failures.py",
            "figure_data.py",
            "findings.py",
            "headline.py",
            "mathfont.py",
            "methods.py",
            "opening.py",
            "phrases.py",
            "plotting.py",
            "mechanisms.py",
            "mechanism_findings.py",
            "space.py",
            "tuning.py",
            "tuning_figures.py",
            "typesetting.py",
            "statistics.py",
            "verdicts.py",
        ),
    message:
        "Writing the report {wildcards.name}"
    shell:
        "python -m ablations report {wildcards.name} --suite {wildcards.suite} --only --format {params.form} {params.authors} > {log} 2>&1"
