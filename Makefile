# `make demo` and `make test` work from a fresh clone with Python 3.11 or newer and nothing else.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
OUT ?= out/demo

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format bench clean

help:
	@echo "make demo       reproduce Fig. 1 and Fig. 4 and measure two trained models; the page is $(OUT)/index.html"
	@echo "make test       linter, type checker, tests"
	@echo "make test-slow  the longer checks"
	@echo "make lint       linter and type checker only"
	@echo "make bench      speed, beside the correctness check of each case"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/perdure demo --out $(OUT)

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf out build dist .pytest_cache .ruff_cache .hypothesis
