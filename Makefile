# Everything needs only Python 3.11+ and make: the first target that wants it creates .venv from the
# pinned requirements, and later calls skip that as long as the pins stay the same.
#
# Paths are relative and every command is a file in .venv/bin, so the checkout may live anywhere.
#
# DAYS, PORT and so on reach a command as variables of its shell: make would carry out a `$(shell …)` in them.

PYTHON ?= python3
ENV    ?= DEV

BIN := .venv/bin
# A signal to make goes to what it started itself, which without `exec` is a shell that passes nothing on.
CLI := exec $(BIN)/payments-pipeline
FOLDER := "$${JSON_DIR:-data/imported_stripe_data}"
FROM := --source "$${SOURCE:-json}" --json-dir $(FOLDER)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Hashes make a changed download an error; wheels only means no build script ever runs at install time.
INSTALL := $(PIP) install --require-hashes --only-binary :all: --requirement

OBJECTS := customer payment_method product price subscription invoice payment_intent charge invoice_payment
INGESTS := $(sort $(OBJECTS:%=ingest-%) $(subst _,-,$(OBJECTS:%=ingest-%)))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup mock-api run-pipeline run-batch run-all run-transforms run-quality run-webhooks \
        populate populate-force fetch init-all populate-all all \
        init-db init-migration migrate upgrade upgrade-db downgrade downgrade-db reset-db \
        ingest-all $(INGESTS) check-db publish-gold stop-db \
        lint format format-check typecheck test test-nightly bench check docs lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' Makefile

setup: .venv/.dev ## Create .venv with everything development needs

mock-api: .venv/.run ## Serve the simulated Stripe on 127.0.0.1 (PORT=8000)
	$(CLI) mock-api --port "$${PORT:-8000}"

run-pipeline: .venv/.run ## Do the whole job for the last DAYS=1 days
	$(CLI) run-pipeline

run-batch: .venv/.run ## Extract one ENTITY=charges for the last DAYS=1 days
	$(CLI) run-batch --entity "$${ENTITY:-charges}"

run-all: .venv/.run ## Extract every entity for the last DAYS=1 days
	$(CLI) run-all

run-transforms: .venv/.run ## Build silver and gold from bronze
	$(CLI) run-transforms

run-quality: .venv/.run ## Run the quality gates
	$(CLI) run-quality

OLTP := $(CLI) oltp
POPULATE := $(OLTP) populate

populate: .venv/.run ## Make up the fixture's customers, products and subscriptions
	$(POPULATE)

populate-force: .venv/.run ## Likewise, with the subscriptions cancelled and made anew
	$(POPULATE) --force

fetch: .venv/.run ## Write every object of the account to JSON_DIR=data/imported_stripe_data
	$(OLTP) fetch --out $(FOLDER)

init-db: .venv/.dev ## Create the databases stripe_db and stripe_test
	$(OLTP) init-db

init-migration: .venv/.dev ## Write the first migration, if there is none
	$(OLTP) init-migration

migrate: .venv/.dev ## Write the migration from the database to the models (m="what it does")
	$(OLTP) migrate --message "$$m"

upgrade-db: .venv/.dev ## Bring the schema up to date
	$(OLTP) upgrade

downgrade-db: .venv/.dev ## Take the schema back by one migration; development only
	$(OLTP) downgrade

upgrade: upgrade-db
downgrade: downgrade-db

reset-db: .venv/.dev ## Throw the database away and make an empty one; development only
	$(OLTP) reset-db

ingest-all: .venv/.dev ## Fill all tables from SOURCE=json|api|lake, for json from JSON_DIR
	$(OLTP) ingest-all $(FROM)

ingest-customer: ## Fill one table, for json from FILE=…; so ingest-product and so on
$(INGESTS): ingest-%: .venv/.dev
	$(OLTP) ingest $(subst -,_,$*) $(FROM) $${FILE:+--file "$$FILE"}

check-db: .venv/.dev ## Compare every table with SOURCE=json|api|lake
	$(OLTP) check $(FROM)

publish-gold: .venv/.dev ## Load the lake's gold models into PostgreSQL
	$(OLTP) publish-gold

stop-db: .venv/.dev ## Stop the PostgreSQL that init-all started; its data stays
	$(OLTP) down

# One recipe after the other, also under `make -j`: each step needs the one before.
define INIT
$(if $(value DATABASE_URL),,$(OLTP) up)
$(OLTP) init-db
$(OLTP) upgrade
endef

define FILL
$(OLTP) fetch --out $(FOLDER)
$(OLTP) ingest-all --source json --json-dir $(FOLDER)
$(OLTP) check --source json --json-dir $(FOLDER)
endef

init-all: .venv/.dev ## Start PostgreSQL (unless DATABASE_URL names one), make the databases and tables
	$(INIT)

populate-all: .venv/.dev ## Populate, fetch, fill the tables from the files, and check them
	$(POPULATE)
	$(FILL)

all: .venv/.dev ## init-all and populate-all; ENV=PROD does not populate
	$(INIT)
	$(if $(filter DEV dev,$(value ENV)),$(POPULATE))
	$(FILL)

run-webhooks: .venv/.run ## Receive webhooks on 127.0.0.1 (PORT=8001), signed with WEBHOOK_SECRET
	$(CLI) run-webhooks --port "$${PORT:-8001}"

lint: .venv/.dev ## Lint the code and audit the workflows
	$(BIN)/ruff check .
	$(BIN)/zizmor --offline --quiet --persona=pedantic .github

format: .venv/.dev ## Rewrite the code in the house format
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

format-check: .venv/.dev ## Fail if `make format` would change anything
	$(BIN)/ruff format --check .

typecheck: .venv/.dev ## Check the types, strictly
	$(BIN)/mypy

test: .venv/.dev ## Run every test (a quarter of an hour)
	$(BIN)/pytest --numprocesses 2

test-nightly: .venv/.dev ## Run the long searches and soak runs
	$(BIN)/pytest --numprocesses 2 --dist worksteal -m nightly --timeout 0

bench: .venv/.dev ## Measure side by side with floors and peers (peers go into .venv-peers)
	$(BIN)/python -m benchmarks

check: lint format-check typecheck test ## Everything a pull request must pass

docs: .venv/.dev ## Build the documentation into site/
	$(BIN)/zensical build --strict --clean

# Resolved for every platform and every supported Python at once; the files name no registry.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade

lock: .venv/.dev ## Raise the pins in requirements/ to the newest allowed releases
	$(LOCK) pyproject.toml --group dev --all-extras --output-file requirements/dev.txt
	$(LOCK) pyproject.toml --group build --extra mock --extra webhooks --constraint requirements/dev.txt --output-file requirements/run.txt
	echo "duckdb==1.4.*" | $(LOCK) --no-deps --no-annotate - --output-file requirements/oldest.txt

clean: ## Remove what the targets above created, except the data
	rm -rf .venv .venv-peers .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist site
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or newer is needed, and $(PYTHON) is older or missing: make PYTHON=/path/to/python3.11 …" >&2; exit 2; }
	$(PYTHON) -m venv .venv

# The project itself goes in as an editable install, with the pinned build backend instead of a fetched one.
.venv/.run: requirements/run.txt pyproject.toml | .venv/bin/python
	$(INSTALL) requirements/run.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements/dev.txt .venv/.run
	$(INSTALL) requirements/dev.txt
	@touch $@
