# Each target makes what it needs. `make test` and `make demo` need nothing but Python 3.11 or newer.
PYTHON = python3
BIN = .venv/bin
INSTALLED = .venv/.installed

.PHONY: demo test lint types imports mutants simulate real smoke conformance e2e benchmarks clean

demo: $(INSTALLED) ## the main job on screen: both engines in an embedded cluster, backup, loss and restore
	@$(BIN)/cozydrivers demo

test: $(INSTALLED) ## every test, on fakes and in virtual time
	@$(BIN)/pytest -q -n auto

lint: $(INSTALLED)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(INSTALLED) ## mypy, and pyright on what the packages export
	@$(BIN)/mypy
	@PATH="$(CURDIR)/$(BIN):$$PATH" pyright --ignoreexternal --verifytypes chbackup
	@PATH="$(CURDIR)/$(BIN):$$PATH" pyright --ignoreexternal --verifytypes cozydrivers

imports: $(INSTALLED) ## the import contracts
	@$(BIN)/lint-imports

mutants: $(INSTALLED) ## break what keeps each invariant, and see a test fail for each
	@$(BIN)/python -m tests.mutants

SEEDS = 300
JOBS = 2
ENGINE = clickhouse

simulate: $(INSTALLED) ## random accidents in a simulated cluster: SEEDS=10000, or SEEDS=500-600; JOBS side by side; ENGINE=mariadb
	@JOBS=$(JOBS) ENGINE=$(ENGINE) $(BIN)/python -m tests.simulation $(SEEDS)

real: $(INSTALLED) ## install or build the real servers, and say which can take part
	@tests/real/install.sh
	@$(BIN)/python -m tests.real.report

smoke: real ## start each real server once
	@$(BIN)/python -m tests.real.smoke

conformance: real ## the suites that hold the fakes against the real servers, on the real servers
	@CHBACKUP_CONFORMANCE=real COZYDRIVERS_CONFORMANCE=real $(BIN)/pytest -q -n 2 --dist loadfile --timeout 120 tests/conformance tests/recordings

e2e: real ## the controller as a process of its own on the real servers
	@COZYDRIVERS_E2E=1 $(BIN)/pytest -q -n 2 --dist loadfile tests/e2e

benchmarks: $(INSTALLED) ## ratios against named baselines; half an hour on an idle machine
	@$(BIN)/python -m benchmarks

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
