PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
PARALLEL := -n 4 --dist loadfile --no-loadscope-reorder
IN_PROCESS := --ignore tests/test_types.py --ignore tests/browser --ignore tests/deploy --ignore tests/devstack --ignore tests/functional

.DEFAULT_GOAL := help
.PHONY: help run demo test coverage chaos lint style audit format lock screenshots clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

run: $(VENV)/installed ## Start the whole stack on this machine: web, workers, beat, NATS
	@exec $(BIN)/python -m devstack

demo: $(VENV)/installed ## Send real files through a running stack and read the events back
	@exec $(BIN)/python -m devstack.demo

test: style ## Check and test everything against real servers; types are one of the tests
	@$(BIN)/pytest $(PARALLEL)

coverage: $(VENV)/installed-dev ## How much of the code the tests in one process reach (half as slow again as without)
	@$(BIN)/pytest $(PARALLEL) --cov --cov-report=term --cov-report=html:build/coverage $(IN_PROCESS)

chaos: $(VENV)/installed-dev ## Break what the stack depends on, and count what became of every transfer (an hour)
	@exec $(BIN)/python -m tests.chaos $(OPTIONS)

lint: style ## Lint, check types, check that no migration is missing
	@$(BIN)/mypy .

style: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/bandit --quiet --recursive --severity-level medium --configfile pyproject.toml artifacts audit casproject common people
	@$(BIN)/python manage.py makemigrations --check --dry-run --settings tests.settings

audit: $(VENV)/installed-dev ## Ask whether a dependency has a known vulnerability (needs the network)
	@$(BIN)/pip-audit --requirement requirements.txt --disable-pip --progress-spinner off; status=$$?; \
		[ $$status -eq 0 ] || echo "Either something was found above, or the database of advisories could not be asked."; exit $$status

format: $(VENV)/installed-dev ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

screenshots: $(VENV)/installed-dev ## Make the pictures in docs/images, of a stack started for them (needs Chromium)
	@exec $(BIN)/python -m devstack.screenshots

lock: $(VENV)/installed ## Compile the hashed requirements (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras \
		--custom-compile-command "make lock" requirements.in --output-file requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-strip-extras \
		--custom-compile-command "make lock" requirements-dev.in --output-file requirements-dev.txt

clean: ## Remove what was built and installed; state in ./var stays
	rm -rf $(VENV) tests/azurite/node_modules build .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage

$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; name one: make PYTHON=python3.12")'
	@echo "Installing into $(VENV); the first time takes about a minute."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt tests/azurite/package-lock.json $(VENV)/installed
	@echo "Installing what the tests need."
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@npm ci --prefix tests/azurite --no-audit --no-fund --silent || { echo; \
		echo "*** Azurite could not be installed: the tests against Azure's API are skipped, and fail in CI."; \
		echo "*** It needs Node.js and npm; then: npm ci --prefix tests/azurite"; echo; } >&2
	@touch $@
