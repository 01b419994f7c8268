# `make run` and `make test` are all that a newcomer needs: Python 3.11 or later and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test lint audit check bench bench-training soak mutation lock clean
.DEFAULT_GOAL := run

# Without the development packages: what a server needs.
$(VENV)/.run: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Keyhouse needs Python 3.11 or later; set PYTHON=…")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

run: $(VENV)/.run ## install, and run the server on embedded defaults
	@$(BIN)/python manage.py serve

test: $(VENV)/.dev ## install, and run the whole suite, a file of tests at a time in each of up to four processes
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: $(VENV)/.dev ## style, types and what bandit finds
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive config accounts workspaces apikeys training
	DATA_DIR=build/lint $(BIN)/mypy

audit: $(VENV)/.dev ## packages with known vulnerabilities; says so where the data cannot be had
	$(BIN)/python -m tests.audit

check: $(VENV)/.dev ## Django's checks, as for production, and missing migrations
	DATA_DIR=build/check $(BIN)/python manage.py makemigrations --check --dry-run
	DATA_DIR=build/check DEBUG=off ALLOWED_HOSTS=keys.example.org REDIS_URL=redis://127.0.0.1 \
	SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(64))') \
	API_KEY_ENCRYPTION_KEYS=k1:$$($(BIN)/python -c 'import base64, os; print(base64.b64encode(os.urandom(32)).decode())') \
	$(BIN)/python manage.py check --deploy --fail-level WARNING

bench: $(VENV)/.dev ## what a request costs, as ratios
	$(BIN)/python -m tests.benchmarks $(ARGS)

bench-training: $(VENV)/.dev ## what a training event costs, with ARGS="--mlflow PROGRAM" beside MLflow
	$(BIN)/python -m tests.benchmarks.training $(ARGS)

soak: $(VENV)/.dev ## two instances under mixed load while Redis and PostgreSQL restart; ARGS="--minutes 5"
	$(BIN)/python -m tests.security.soak $(ARGS)

mutation: $(VENV)/.dev ## does a test notice when the code that guards keys is changed? ARGS=workspaces/access.py for a part
	$(BIN)/python -m tests.mutation $(ARGS)

# Versions are those of one day, for every platform and Python from 3.11 on.
lock: ## renew the lock files
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--group dev --constraint requirements.lock pyproject.toml --output-file requirements-dev.lock

clean: ## remove what was built; the data under var/ stay
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
