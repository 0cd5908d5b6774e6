PYTHON ?= python3
ENV := .venv
BIN := $(ENV)/bin
STAMP := $(ENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow lint docs pictures bench clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

# Installed again only when pyproject.toml changes.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

install: $(STAMP)  ## Make the environment .venv, which all other targets begin with too

demo: $(STAMP)  ## Train GAN, VAE and diffusion on shapes, measure them, print the verdicts (25 minutes on two cores with bfloat16, an hour without)
	$(BIN)/python -m analysis.study study=demo

# A thread to each worker: two that share a core wait for each other. In the order of their names, files with few and long
# tests do not come last, when one worker has nothing left to do.
test: $(STAMP)  ## Run every fast test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# Each of these takes long by itself: whoever is idle takes one over.
test-slow: $(STAMP)  ## Run the tests that take minutes, and the oracles
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m slow

lint: $(STAMP)  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)  ## Build the documentation into build/docs; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

pictures: $(STAMP)  ## Make the documentation's pictures of the three models anew, from runs/standard
	$(BIN)/python docs/pictures.py runs/standard

bench: $(STAMP)  ## Print speed ratios: training through Lightning, the data pipeline
	$(BIN)/python tests/bench.py

clean:  ## Remove the environment and caches; runs and data stay
	rm -rf $(ENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
