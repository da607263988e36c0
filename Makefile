# Everything a person or a CI job runs. `make` alone lists the targets.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JS     := tests/grpc_js
JS_STAMP := $(JS)/node_modules/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test matrix check bench simulation lock protos clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP) ## create .venv from the locked dependencies; .venv/bin/xds-server is the program

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or later is needed; name one: make PYTHON=python3.12"; exit 1; }
	@echo "installing what is locked in requirements.lock into $(VENV), once: a minute or two"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(JS_STAMP): $(JS)/package.json $(JS)/package-lock.json
	@command -v npm >/dev/null || { echo "the tests need Node.js 18 or later, with npm: apt-get install nodejs npm"; exit 1; }
	cd $(JS) && npm ci --loglevel=error
	@touch $@

demo: setup ## four mock regions, four real Envoys, a load, live in this terminal
	$(BIN)/xds-server demo $(ARGS)

check: setup ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check $(JS_STAMP) ## everything: check, then all tests, real Envoys, gRPC clients and a browser included
	@command -v "$${CHROMIUM:-chromium}" >/dev/null || \
	  { echo "the tests need Chromium: apt-get install chromium, or name one in CHROMIUM"; exit 1; }
	$(BIN)/pytest -n 3 --dist loadscope -m "not alone" $(ARGS) || [ $$? -eq 5 ]
	$(BIN)/pytest -m alone $(ARGS) || [ $$? -eq 5 ]

matrix: setup ## the newest Envoy and older ones (1.36, 1.38) take all that we send; fetches those once
	$(BIN)/pytest --all-envoys tests/envoy_matrix $(ARGS)

bench: setup ## measure what the documents claim; prints a table, writes bench-results.json
	$(BIN)/python -m bench $(ARGS)

simulation: setup ## live every simulated scenario, checked; writes docs/simulation/
	$(BIN)/python -m tests.simulation

lock: setup ## resolve pyproject.toml again into requirements.lock, and what images need into requirements-serve.lock
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 \
	  --group dev --extra demo pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11 \
	  --constraints requirements.lock pyproject.toml -o requirements-serve.lock

protos: setup ## compile protos/ into the package
	cd protos && ../$(BIN)/python -m grpc_tools.protoc -I. --python_out=.. --pyi_out=.. $$(find . -name '*.proto' | sed 's|^\./||')

clean: ## remove what the other targets made
	rm -rf $(VENV) $(JS)/node_modules build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
