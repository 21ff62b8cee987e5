# Each target makes the environment it needs (.ci/venv says how). ARGS goes to the program: make demo ARGS="--exit --json"
RUN := sh .ci/venv
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --quiet

.PHONY: install demo test check bench faults lock

install:
	@$(RUN)

demo:
	@$(RUN) gateway demo $(ARGS)

# Two files of tests side by side: half of the time of either is waiting.
test:
	@$(RUN) python -m pytest -n 2 --dist loadfile $(ARGS)

check:
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(RUN) lint-imports --no-logo --no-cache
	@$(RUN) python -m pytest -q tests/unit/test_sizes.py

bench:
	@$(RUN) python -m tests.bench $(ARGS)

# Every crash point with every fault and every second kill, then the tests that are longer with FAULTS=long: about two
# hours; ARGS="--minutes 10" for an even part of the crash points alone.
faults:
	@$(RUN) python -m tests.faults $(ARGS)

# New versions of what pyproject.toml asks for.
lock:
	@$(RUN) $(LOCK) --upgrade --output-file requirements.txt
	@$(RUN) $(LOCK) --upgrade --extra dev --constraint requirements.txt --output-file requirements-dev.txt
