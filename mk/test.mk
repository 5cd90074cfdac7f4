# Running the tests. PYTEST_ARGS adds arguments, as in `make test-unit PYTEST_ARGS='-k store'`.

PYTEST = $(BIN)/pytest $(PYTEST_ARGS)
# mk/guest-tests.mk may name files to build before the guest tests run.
GUEST_PROGRAMS ?=
# What of `make test` comes after pytest; mk/hardware.mk defines the target.
HARDWARE := $(if $(wildcard mk/hardware.mk),test-hardware)

.PHONY: test test-unit test-guest test-e2e test-perf test-nightly
# One part's failure does not keep the next from being seen.
test: $(READY) $(GUEST_PROGRAMS)
	@failed=; \
	$(MAKE) lint || failed+=' lint'; \
	$(PYTEST) tests/unit tests/guest tests/border tests/e2e || failed+=' pytest'; \
	$(MAKE) fuzz-plants || failed+=' fuzz-plants'; \
	$(MAKE) fuzz || failed+=' fuzz'; \
	$(MAKE) test-conformance || failed+=' test-conformance'; \
	$(MAKE) test-perf || failed+=' test-perf'; \
	for target in $(HARDWARE); do $(MAKE) $$target || failed+=" $$target"; done; \
	[ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

test-unit: $(READY)
	$(PYTEST) tests/unit

test-guest: $(READY) $(GUEST_PROGRAMS)
	$(PYTEST) tests/guest

test-e2e: $(READY)
	$(PYTEST) tests/e2e

# Start-up latency regression (docs/benchmarks.md), about three minutes. Alone: what else runs would be measured with it.
test-perf: $(READY)
	$(PYTEST) tests/perf/test_planted.py tests/perf/test_regress.py

# What takes long: tests that are marked so.
test-nightly: $(READY) $(GUEST_PROGRAMS)
	$(PYTEST) -m nightly tests

# Adds a run of this machine to the history that test-perf compares with; on an idle machine, when a change of the figures is meant.
.PHONY: perf-record
perf-record: $(READY)
	$(BIN)/quark bench regress --record tests/perf/history.json

# Not part of `make test`: about ten minutes.
CYCLES ?= 10000
CLIENTS ?= 4
.PHONY: soak
soak: $(READY)
	$(BIN)/python tests/soak/soak.py --cycles $(CYCLES) --clients $(CLIENTS)
