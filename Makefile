# Everything works from a bare clone: the first target that needs it sets up .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test check fix man fuzz bench package

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --group dev --editable .
	touch $@

demo: $(READY) ## Set up, and deblur the sample photo
	$(BIN)/unblur --overwrite --output . examples/street.jpg

test: $(READY) ## Set up, and run the tests
	$(BIN)/python -m pytest

check: $(READY) ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(READY) ## Repair format and style where that can be done
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

man: $(READY) ## Write the man page anew, from the parser
	$(BIN)/click-man unblur --target man

package: $(READY) ## Build the wheel, and run it where there is nothing else
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(PYTHON) -m venv --clear dist/venv
	dist/venv/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt dist/*.whl
	cp examples/street.jpg dist/photo.jpg
	cd dist && venv/bin/unblur photo.jpg

FUZZ_SECONDS ?= 60

fuzz: $(READY) ## Feed damaged files to the parsers, FUZZ_SECONDS (60) for each
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group fuzz
	for target in jpeg png webp avif tiff thumbnail checkpoint weights archive; do \
		$(BIN)/python -m fuzz.run $$target -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

bench: $(READY) ## Measure speed and memory
	$(BIN)/python -m benchmarks.run
