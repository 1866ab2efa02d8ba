# The two commands are `make demo` and `make test`; README.md says what they need and leave behind.
# Every target is safe to run again.

PY := .venv/bin/python
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

.PHONY: help setup venv machine demo test test-all bench lint types check undo

help: ## Say what can be made
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install Debian packages, mount binfmt_misc, register emulators (root)
	scripts/setup

venv: .venv/.done ## Python environment in .venv, exactly as requirements.lock says

.venv/.done: requirements.lock pyproject.toml scripts/venv
	scripts/venv
	touch $@

# What the live tests and the demo need.  Without root or apt the rest still runs, and says what is missing.
machine:
	@if scripts/can-setup; then scripts/setup && scripts/fetch-minipkgs && scripts/fetch-nix trixie; \
	else echo "make: no root or no apt: tests that need Nix will be skipped, each with its reason"; fi

demo: ## Cross-build a native package through the shim, beside emulation
	scripts/setup
	$(MAKE) --no-print-directory venv
	scripts/fetch-minipkgs
	$(PY) -m tests.live.demo

test: machine venv ## Everything but the long live tests
	$(PY) -m pytest -m "not long"

test-all: machine venv ## Everything
	scripts/can-setup && scripts/fetch-nix sid || true
	scripts/can-setup && scripts/fetch-minipkgs --all || true
	$(PY) -m pytest

bench: venv ## Measure what the README states
	$(PY) -m tests.bench

lint: venv ## Style
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

types: venv ## Types
	.venv/bin/mypy

check: lint types test ## What CI runs

undo: ## Take back what setup did
	scripts/undo-setup
