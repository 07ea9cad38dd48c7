# make demo: set up and run the platform.   make test: set up and run every test.
.PHONY: setup demo test drill lint format bench clean

setup:
	@./setup.sh

# A new home of the demo begins with three days of the past, unless the environment says otherwise.
demo: export TAPEHOUSE_SIMULATOR__HISTORY_DAYS ?= 3
# So that they are in ClickHouse too within the first minutes.
demo: export TAPEHOUSE_MIRROR__EVERY_S ?= 15
demo: setup
	@exec .venv/bin/tapehouse up $(ARGS)

# The page's own tests and types need Node; where it is missing the rest is tested all the same.
PAGE = $(if $(wildcard gateway/web/node_modules/.installed),npm --prefix gateway/web run --silent,@: without Node:)

test: setup
	$(PAGE) test
	.venv/bin/pytest -n 2 --no-loadscope-reorder $(ARGS)

# About 40 minutes: 20 kills of each part, 5 pauses and 5 cuts, then many faults in one run.
drill: setup
	.venv/bin/tapehouse drill $(ARGS)
	.venv/bin/tapehouse drill --together $(ARGS)
	.venv/bin/pytest -m long

lint: setup
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	$(PAGE) check

format: setup
	.venv/bin/ruff format
	.venv/bin/ruff check --fix
	$(PAGE) format

bench: setup
	@.venv/bin/python -m bench $(NAME)

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build *.egg-info gateway/web/node_modules gateway/web/dist tests/timescale/node_modules
