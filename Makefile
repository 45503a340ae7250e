# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests. `make help` lists the rest.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && command -v $$p && break; done)
UV := $(shell command -v uv 2>/dev/null)
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check
STUBS := .
INSTALL := $(if $(UV),uv pip install --quiet --python $(BIN)/python,$(PIP_INSTALL))

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-macos lint format proto clean

help: ## Show what can be made.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.farm ## Start a farm on this machine, render the sample batch into out/demo/, stop it again.
	@$(BIN)/farm demo

test: lint $(VENV)/.tools ## Run lint, strict types and all tests.
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.test ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-slow: $(VENV)/.test ## Run the tests that take minutes.
	$(BIN)/python -m pytest -m 'slow and not macos' --timeout 3600 --hypothesis-profile explore

test-macos: $(VENV)/.test ## On a Mac: run the tests that need Core ML and write out/macos-report/ to share.
	$(BIN)/python -m tests.macos_report

format: $(VENV)/.test ## Put the code in its standard form.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(VENV)/.test ## Generate farm/v1/ from protos/.
	$(BIN)/python -m grpc_tools.protoc -Iprotos \
		-I"$$($(BIN)/python -c 'import pathlib, google.rpc; print(pathlib.Path(list(google.rpc.__path__)[0]).parents[1])')" \
		--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
		--python_out=$(STUBS) --grpc_python_out=$(STUBS) --mypy_out=$(STUBS) --mypy_grpc_out=$(STUBS) protos/farm/v1/*.proto

clean: ## Remove the environment and everything that was made.
	rm -rf $(VENV) out build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# pip must work in the environment whoever made it: users add packages with it, and torch is installed by it below.
$(BIN)/python:
	@test -n "$(PYTHON)" || { \
		echo "The farm needs Python 3.11, 3.12 or 3.13, and none was found on the PATH."; \
		echo "Install one (macOS: brew install python@3.12; Debian: apt install python3 python3-venv) and run make again,"; \
		echo "or name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13, which the farm needs. Name another: make PYTHON=/path/to/python3.12"; \
		exit 1; }
	@echo "Making the environment in $(VENV)/ with $(PYTHON) ..."
	@{ $(if $(UV),uv venv --quiet --seed --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV)) && $@ -m pip --version > /dev/null; } || { \
		rm -rf $(VENV); \
		echo "The environment could not be made. On Debian and Ubuntu, apt install python3-venv brings what is missing."; \
		exit 1; }

$(VENV)/.farm: pyproject.toml | $(BIN)/python
	@echo "Installing the farm (about a minute the first time) ..."
	@$(INSTALL) -e .
	@touch $@

# What tests of the page and of Prometheus' rules start. They are skipped, and say so, where it is not installed.
TOOLS_ARE_THERE := { { command -v chromium || command -v chromium-browser; } && command -v promtool; } > /dev/null

$(VENV)/.tools: | $(BIN)/python
	@if ! $(TOOLS_ARE_THERE) && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing Chromium and Prometheus for the tests ..."; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends chromium prometheus; } > /dev/null \
			|| true; fi
	@if $(TOOLS_ARE_THERE); then touch $@; \
		else echo "Chromium or promtool is not installed; the tests that need them are skipped."; fi

# torch is pinned and comes first, by pip, which reads its user's own index settings: on Linux, PyPI's torch brings gigabytes of
# CUDA libraries that nothing here uses, and an index of CPU builds does not.
$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "Installing the farm with its test tools (a few minutes the first time) ..."
	@$(PIP_INSTALL) "$$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)"
	@$(INSTALL) -e '.[test]'
	@touch $@ $(VENV)/.farm
