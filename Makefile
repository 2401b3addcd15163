# Two commands: `make bench` shows what howfar does, `make test` checks that it does it right.
PYTHON ?= python3
BIN := .venv/bin
RUNS ?= runs
export OMP_WAIT_POLICY = PASSIVE

.PHONY: bench test test-all mutation torture campaign check fmt docs studies-docs site notebooks clean

bench: .venv/user
	$(BIN)/howfar bench --runs $(RUNS)
	@echo "Open $(CURDIR)/$(RUNS)/report.html in a browser."

test: check
	$(BIN)/pytest -n auto --dist loadfile

test-all: check
	$(BIN)/pytest -n auto --dist loadfile -m "slow or not slow" --timeout 1800

mutation: .venv/dev
	$(BIN)/pip install --quiet --disable-pip-version-check mutmut==3.8.1
	$(BIN)/python benchmarks/mutation.py

torture: .venv/dev
	$(BIN)/python benchmarks/torture.py

campaign: .venv/dev
	$(BIN)/python benchmarks/campaign.py

check: .venv/dev
	$(BIN)/ruff format --check src tests benchmarks studies examples docs
	$(BIN)/ruff check src tests benchmarks studies examples docs
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: .venv/dev
	$(BIN)/ruff format src tests benchmarks studies examples docs
	$(BIN)/ruff check --fix src tests benchmarks studies examples docs

docs: .venv/dev
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/layout.py

studies-docs: .venv/dev
	$(BIN)/python studies/docs.py

notebooks: .venv/dev
	$(BIN)/python examples/render.py

site: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open $(CURDIR)/build/site/index.html in a browser."

clean:
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "howfar needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

.venv/user: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[all]"
	@touch $@

.venv/docs: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

.venv/dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
