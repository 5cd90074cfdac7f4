# Everything a developer or the CI does, each install step included.
#
#   make setup    what the system and the virtual environment need (as root it installs missing Debian packages)
#   make          build and install into .venv; again only when a source has changed
#   make dev      build in place and let .venv run from the source tree: the fast loop. `make` switches back
#   make test     lint, unit, guest and end-to-end tests, then the hardware KVM tests
#   make test-unit | test-guest | test-e2e | test-perf | test-hardware   parts of it; test-nightly is what takes long
#   make conformance   CPython's own tests in sandboxes and natively, case by case; test-conformance those that `make test` runs
#   make bench | demo   the tables of start-up times, captures and the store; make bench-check fails when a bar is missed
#   make fuzz     mutated requests, messages and files for MINUTES=10 in sum; fuzz-plants whether errors that are put in are found
#   make soak     10,000 cycles of create, clone and delete by four clients at once; fails when anything leaks
#   make lint     what must be clean before a commit      make format   format C and Python
#   make docs     regenerate what docs/ is generated from  make clean    remove everything built, .venv excepted

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= /usr/bin/python3.11
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := quark quark_guest qvisor snapshotd
# Two makes at a time must not share the build folders or the virtual environment.
$(shell mkdir -p build)
LOCKED := flock build/.lock

include mk/setup.mk
include mk/build.mk
-include mk/guest-tests.mk
-include mk/hardware.mk
include mk/stress.mk
include mk/proto.mk
include mk/conformance.mk
include mk/test.mk
include mk/fuzz.mk
include mk/lint.mk

.PHONY: demo bench docs clean
.PHONY: bench-check
bench-check: $(READY)
	$(PYTEST) tests/perf

demo bench: $(READY)
	sync  # what an installation has just written must not go to disk beside it
	$(BIN)/quark bench startup
	$(BIN)/quark bench snapshots
	$(BIN)/quark bench native

docs: $(REQUIREMENTS) $(READY)
	$(BIN)/python qkernel/gen_syscalls.py qkernel/syscalls.tbl --doc docs/syscalls.md
	$(BIN)/python mk/exit_codes.py docs/exit-codes.md
	$(BIN)/python mk/attack_surface.py docs/attack-surface.md
	$(BIN)/python mk/lifecycles.py docs/architecture.md
	$(BIN)/python mk/sync_client.py
	$(BIN)/python tests/conformance/cpython.py --page

clean:
	rm -rf build dist qvisor/_native*.so qvisor/data $(INSTALLED)
