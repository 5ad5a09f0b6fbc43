# make run     set up if needed, then run the demo end to end
# make test    set up if needed, then run the tests (make test-all: the slow ones too)
# make check   lint, types, rules between the rooms, tests
# make bench   every figure beside its peer
# make up      host it: Prefect's server on PostgreSQL, a worker, an object store (make down ends it)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: run test test-all check lint types bench clean up down

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

COMPOSE = docker compose --project-name webtext --file infra/compose.yaml $(if $(LINEAGE),--profile lineage)

up:
	@command -v docker >/dev/null || { echo "make up needs Docker, which is not installed:" \
	  "https://docs.docker.com/engine/install; without it: webtext serve" >&2; exit 1; }
	@docker compose version >/dev/null 2>&1 || { echo "make up needs Docker's compose plugin (Debian:" \
	  "docker-compose-plugin), which is not installed; without it: webtext serve" >&2; exit 1; }
	@docker info >/dev/null 2>&1 || { echo "make up needs a running Docker engine, and none answers" \
	  "(is the service started, may this user use it?); without it: webtext serve" >&2; exit 1; }
	@test -f infra/.env || { echo "make up needs passwords: copy infra/env.example to infra/.env and" \
	  "fill it in" >&2; exit 1; }
	$(COMPOSE) up --build --detach --wait server worker objects $(if $(LINEAGE),marquez)
	$(COMPOSE) run --rm deploy
	@echo "Prefect's pages: http://127.0.0.1:$${WEBTEXT_PORT:-4200}"

down:
	$(COMPOSE) down

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
