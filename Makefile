# Every target sets up what it needs; `make demo` and `make test` are all a newcomer types.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test check simulate format lock bench synth package clean
help:
	@echo "make demo    watch a real chain become points (DEMO_ARGS='--for 20s' to end it)"
	@echo "make test    the whole test suite"
	@echo "make check   what CI runs: lint, types, layers, tests"
	@echo "make bench   measure this machine, and other indexers on it: half an hour, 12 GB of memory"
	@echo "make synth   the CloudFormation templates of both stages, into infra/cdk.out"
	@echo "make package what functions and monitor run, for arm64: before a deployment"
	@echo "make simulate SEEDS=1000   worlds with forks, lies, faults and crashes"

setup: .venv/.ready
.venv/.ready: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ngu-points needs Python 3.11 or newer: make PYTHON=python3.12 setup"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv \
	  || { echo "python cannot make a virtual environment: on Debian, apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup
	@$(BIN)/ngu demo $(DEMO_ARGS)

test: setup
	@$(MAKE) --no-print-directory .venv/.infra || echo "CDK cannot be installed here: tests/infra is skipped"
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --quiet --check
	$(BIN)/mypy --no-error-summary
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -n 2

check: test

format: setup
	$(BIN)/ruff check --fix --quiet
	$(BIN)/ruff format --quiet

SEEDS ?= 1000
simulate: setup
	cd tests && ../$(BIN)/python -m simulation --seeds $(SEEDS)

# Everything, about half an hour on a quiet machine; docs/performance.md and its plots are made of it.
bench: .venv/.bench
	$(BIN)/python -m bench --as-installed --json docs/performance.json
	$(BIN)/python -m bench.page

.venv/.bench: .venv/.ready requirements/bench.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@

# CDK with its Node, which the demo does without.
.venv/.infra: .venv/.ready requirements/infra.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/infra.txt
	@touch $@

synth: .venv/.infra
	@CDK_OUTDIR=infra/cdk.out $(BIN)/python -m infra
	@ls infra/cdk.out/*.template.json

package: .venv/.infra
	$(BIN)/python -m infra.package

# Needs uv (https://docs.astral.sh/uv); the lock holds for every platform and Python 3.11 to 3.14.
lock:
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	  --custom-compile-command "make lock" --extra parquet --extra aws --group dev pyproject.toml -o requirements/dev.txt
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	  --custom-compile-command "make lock" -c requirements/dev.txt pyproject.toml -o requirements/run.txt
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	  --custom-compile-command "make lock" --extra aws -c requirements/dev.txt pyproject.toml -o requirements/aws.txt
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	  --custom-compile-command "make lock" -c requirements/aws.txt requirements/functions.in -o requirements/functions.txt
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	  --custom-compile-command "make lock" -c requirements/dev.txt requirements/infra.in -o requirements/infra.txt
	echo ministack==1.5.33 | uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	  --custom-compile-command "make lock" - -o requirements/emulator.txt
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	  --custom-compile-command "make lock" -c requirements/dev.txt requirements/bench.in -o requirements/bench.txt
	uv pip compile --quiet --generate-hashes --python-version 3.11 --no-emit-index-url \
	  --custom-compile-command "make lock" bench/rivals/projects/dipdup/requirements.in -o bench/rivals/projects/dipdup/requirements.txt

clean:
	rm -rf .venv .tools infra/.build infra/cdk.out .pytest_cache .mypy_cache .ruff_cache .hypothesis
