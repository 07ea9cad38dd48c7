# make demo: set up and run the platform.   make test: set up and run every test.
.PHONY: setup demo test lint format bench clean

setup:
	@./setup.sh

demo: setup
	@exec .venv/bin/tapehouse up $(ARGS)

test: setup
	.venv/bin/pytest $(ARGS)

lint: setup
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy

format: setup
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

bench: setup
	@.venv/bin/python -m bench $(NAME)

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build *.egg-info
