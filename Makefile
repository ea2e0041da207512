# make        install, train the suite `digits`, write its report, print the verdicts
# make setup  only install
# make test   install, then linters and tests
# make soak   mutated files, kills and many runs, counted; takes half an hour
# make lock   renew requirements.lock after a change of pyproject.toml

SUITE ?= digits
CORES ?= all
BIN := .venv/bin
PYTHON ?= python3
# Commands below find the environment's programs as in an activated shell.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: report setup test lint soak lock clean

report: setup
	@snakemake --cores $(CORES) --resources gpu=$$(python -c 'from ablations import gpus; print(gpus.visible())') --config suite=$(SUITE) --quiet host reason
	@ablations summary --suite $(SUITE)

setup: $(BIN)/.installed

$(BIN)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	$(BIN)/uv pip sync --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --editable .
	@touch $@

lint: setup
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint

test: lint
	pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

soak: setup
	python tests/soak.py

lock: setup
	uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-header --no-annotate --upgrade pyproject.toml --output-file requirements.lock

clean:
	rm -rf results $(filter-out report/example/,$(dir $(wildcard report/*/report.md)))
