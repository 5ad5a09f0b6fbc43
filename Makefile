# make run     set up if needed, then run the demo end to end
# make test    set up if needed, then run the tests (make test-all: the slow ones too)
# make check   lint, types, rules between the rooms, tests
# make bench   every figure beside its peer

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: run test test-all check lint types bench clean

run: $(VENV)/.run
	$(BIN)/webtext run --profile demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest

check: lint types test

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m tests.bench all

clean:
	rm -rf $(VENV)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# Each set-up installs the one below it and what it adds, at the versions of constraints.txt.
$(VENV)/.run: $(VENV)/.python pyproject.toml constraints.txt $(wildcard webtext/*.c eval/*.c)
	$(PIP) install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# The pip that Python 3.11 brings fails on the peers' `lxml[html_clean]` and `lxml[html-clean]`.
$(VENV)/.bench: $(VENV)/.dev
	$(PIP) install --quiet --upgrade 'pip>=25'
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	touch $@
