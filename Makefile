# Two commands matter: `make demo` and `make test`. Everything they need is set up in .venv.
SHELL := /bin/sh
BIN := .venv/bin

.PHONY: setup demo test simulate crash-test fuzz long-run lint power-test picture lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: .venv/ready
.venv/ready: requirements/dev.txt pyproject.toml scripts/setup
	@sh scripts/setup

demo: setup  ## watch a real app being updated while it serves, and saved from bad releases
	@$(BIN)/surefoot demo

test: setup  ## every test; TESTS='-m "not slow"' leaves out what takes minutes
	@$(BIN)/pytest -n 2 --dist worksteal $(TESTS)

simulate: setup  ## every crash and failure at every point, up to three in one update
	@$(BIN)/python -m tests.simulation

crash-test: setup  ## strike at every system call of real updates: hours; CRASH='--sample 20' for fewer of each, '--log FILE' to go on later
	@$(BIN)/python -m tests.crash.sweep $(CRASH)

fuzz: setup  ## coverage-guided fuzzing of every file that is read back; FUZZ='--seconds 600' for longer
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/fuzz.txt
	@$(BIN)/python -m tests.fuzz $(FUZZ)

long-run: setup  ## 500 updates in a row with random faults: half an hour; LONG_RUN=50 for fewer
	@SUREFOOT_LONG_RUN=$(or $(LONG_RUN),500) $(BIN)/pytest -q -s tests/system/test_long_run.py

bench: setup  ## measure side by side with what a user would otherwise do; BENCH=cutover for a part, BENCH_OPTIONS=--brief for half as often, --quick to try it
	@$(BIN)/python -m bench $(BENCH) $(BENCH_OPTIONS)

lint: setup  ## ruff, mypy strict, shellcheck, import-linter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/shellcheck src/surefoot/supervisor.sh scripts/setup .ci/run bench/contenders/*/*.sh
	@$(BIN)/lint-imports --no-cache

power-test: setup  ## the power goes in mid-update, 500 times, on ext4 and XFS (needs root)
	@$(BIN)/python -m tests.power

picture: setup  ## the picture in the README, from a real run of the demo
	@$(BIN)/python scripts/picture.py

lock: setup  ## resolve our own dependencies again, with hashes
	@$(BIN)/uv pip compile pyproject.toml --extra all --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-package surefoot \
		--custom-compile-command 'make lock' --upgrade --quiet --output-file requirements/dev.txt
	@$(BIN)/uv pip compile --group fuzz --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' --upgrade --quiet --output-file requirements/fuzz.txt

clean:  ## remove what setup made
	rm -rf .venv
