# make demo    see the main job on four small mailboxes
# make test    all tests but the long ones; what was skipped, and why, is listed at the end
# make check   lint, then test
# Each target makes .venv itself where it is missing. Another Python: make PYTHON=python3.12 test

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= 2
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# What the tests run beside Python; each test that needs one of them is skipped, and says so, where it is missing.
PROGRAMS := strace dovecot-core dovecot-imapd postfix pst-utils pff-tools tnef ytnef-tools grepmail \
	procmail slapd chromium poppler-utils davmail-server default-jre-headless openssl \
	openssh-client rsyslog age rsync libnss-wrapper krb5-kdc krb5-admin-server krb5-user libkrb5-dev
# Node.js for two readers of PST files: Debian's where there is none, since another one's package forbids Debian's npm.
NODE = $(shell command -v node >/dev/null || echo nodejs) $(shell command -v npm >/dev/null || echo npm)

# Real mail files for the tests that want them: $EXCISE_SAMPLES, else ../shared where that is there.
ifeq ($(EXCISE_SAMPLES),)
ifneq ($(wildcard ../shared/pst-samples),)
export EXCISE_SAMPLES := $(abspath ../shared)
endif
endif

.PHONY: demo test soak lint check bench test-programs format clean

demo: $(VENV)/.made
	$(BIN)/excise demo

test: $(VENV)/.made
	$(BIN)/pytest -n $(JOBS) --dist loadfile --timeout 600 -m "not soak" $(TESTS)

soak: $(VENV)/.made
	$(BIN)/pytest -m soak --timeout 14400 $(TESTS)

lint: $(VENV)/.made
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

format: $(VENV)/.made
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.made
	$(BIN)/python bench/run.py
	$(BIN)/python bench/pst.py
	$(BIN)/python bench/pst_made.py
	$(BIN)/python bench/report.py
	$(BIN)/python bench/exchange.py
	$(BIN)/python bench/many_matches.py

test-programs: $(VENV)/.made
	$(SUDO) apt-get update -q
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(PROGRAMS) $(NODE)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[kerberos]'
	npm ci --prefix tests/npm --ignore-scripts --no-audit --no-fund

$(VENV)/.made: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Excise needs Python 3.11 or later; try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
