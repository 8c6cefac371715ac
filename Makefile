# make demo    train a two-layer network, and write its loss curve and computation graph to out/
# make test    run every test (PyTorch is not needed)
# make docs    build the site in out/site/, its notebooks and pictures included, and check every link
# make changelog  show the next section of the change log; WRITE=yes writes it
# make release    build the packages, check them, run their tests on every Python that is found
# make mutants plant faults, and print those that the tests don't notice; MUTANTS="--sample 20" plants some
#
# Everything is installed in .venv, which `make clean` removes. PYTHON=python3.13 picks another interpreter.

PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install -qq --disable-pip-version-check

MUTANTS ?=
TESTS ?=

.PHONY: demo test test-thorough mutants lint docs bench bench-peers fuzz fuzz-compiled leaks changelog release clean

demo: $(VENV)/examples.installed
	$(RUN) examples/two_layer.py

# Each core runs its own tests; with more threads than cores, a test can take ten times as long
test test-thorough mutants: export OPENBLAS_NUM_THREADS = 1

test: $(VENV)/test.installed
	$(RUN) -m pytest -q -n auto

test-thorough: $(VENV)/test.installed
	HYPOTHESIS_PROFILE=thorough $(RUN) -m pytest -q -n auto

mutants: $(VENV)/test.installed
	$(RUN) -m tests.mutants $(MUTANTS)

lint: $(VENV)/dev.installed
	$(RUN) -m ruff format --check
	$(RUN) -m ruff check
	$(RUN) -m mypy
	$(VENV)/bin/oxlint -f unix viz/page
	$(VENV)/bin/codespell $$(git ls-files)
	$(RUN) -m tests.prose
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(VENV)/bin/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

docs: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/docs.installed
	$(RUN) -m mkdocs -q build

bench: $(VENV)/test.installed
	$(RUN) benchmarks/run.py

bench-peers: $(VENV)/peers.installed
	$(RUN) benchmarks/run.py

fuzz: $(VENV)/test.installed
	$(RUN) -m tests.fuzz --minutes $(or $(MINUTES),1) $(if $(SEED),--seed $(SEED))

fuzz-compiled: $(VENV)/test.installed
	$(RUN) -m tests.fuzz --surroundings --minutes $(or $(MINUTES),1) $(if $(SEED),--seed $(SEED))

leaks: $(VENV)/test.installed
	$(RUN) benchmarks/leaks.py

changelog: $(VENV)/release.installed
	$(VENV)/bin/towncrier build $(if $(WRITE),--yes,--draft)

release: $(VENV)/release.installed
	$(RUN) .ci/release.py -- $(TESTS)

clean:
	rm -rf .venv out dist build *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache

# One file for each extra that is installed; pip runs again when what it installs from changes.
$(VENV)/%.installed: setup.cfg pyproject.toml | $(RUN)
	$(INSTALL) -e ".[$*]"
	touch $@

$(RUN):
	$(PYTHON) -m venv $(VENV)
