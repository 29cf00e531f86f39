# Everything works from a bare clone: the first target that needs it sets up .venv.

ifeq ($(OS),Windows_NT)
PYTHON ?= python
SCRIPTS := Scripts
else
PYTHON ?= python3
SCRIPTS := bin
endif
VENV := .venv
BIN := $(VENV)/$(SCRIPTS)
READY := $(VENV)/.ready
# Which versions are installed: constraints-oldest.txt for the oldest, nothing for the newest.
CONSTRAINTS ?= constraints.txt
INSTALL := -m pip install --quiet --disable-pip-version-check
TOO_OLD := $(PYTHON) is older than Python 3.10: install a newer one, and name it, such as PYTHON=python3.12
CONSTRAINED := $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

.PHONY: help demo test check fix man docs package fuzz bench

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(r"$(TOO_OLD)" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) "pip>=25.1"
	$(BIN)/python $(INSTALL) $(CONSTRAINED) --group dev --editable .
	touch $@

demo: $(READY) ## Set up, and deblur the sample photo
	$(BIN)/unblur --overwrite --output . examples/street.jpg

test: $(READY) ## Set up, and run the tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

check: $(READY) ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(READY) ## Repair format and style where that can be done
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

man: $(READY) ## Write the man page anew, from the parser
	$(BIN)/click-man unblur --target man

docs: $(READY) ## Build the documentation: site/index.html
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs site

package: $(READY) ## Build sdist and wheel, check them, and run the wheel where there is nothing else
	$(BIN)/python $(INSTALL) --group package
	rm -rf dist
	# The second time the wheel is built from the source tree, not from the sdist: it is the same.
	$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	$(BIN)/python -m build --no-isolation --outdir dist/again --sdist --wheel . >/dev/null
	for file in dist/*.whl dist/*.tar.gz; do cmp $$file dist/again/$${file#dist/} || exit 1; done
	$(BIN)/python -m twine check --strict dist/*.whl dist/*.tar.gz
	$(BIN)/check-wheel-contents dist/*.whl
	$(PYTHON) -m venv --clear dist/venv
	dist/venv/$(SCRIPTS)/python $(INSTALL) $(CONSTRAINED) dist/*.whl
	cp examples/street.jpg dist/photo.jpg
	cd dist && venv/$(SCRIPTS)/unblur --report report.html photo.jpg

FUZZ_SECONDS ?= 60

fuzz: $(READY) ## Feed damaged files to the parsers, FUZZ_SECONDS (60) for each
	$(BIN)/python $(INSTALL) --group fuzz
	for target in jpeg png webp avif heif tiff exif thumbnail checkpoint weights archive; do \
		$(BIN)/python -m fuzz.run $$target -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

bench: $(READY) ## Measure speed and memory
	$(BIN)/python -m benchmarks.run
