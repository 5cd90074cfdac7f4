# Running the tests. PYTEST_ARGS adds arguments, as in `make test-unit PYTEST_ARGS='-k store'`.

PYTEST = $(BIN)/pytest $(PYTEST_ARGS)
# mk/guest-tests.mk may name files to build before the guest tests run.
GUEST_PROGRAMS ?=
# What of `make test` comes after pytest; mk/hardware.mk defines the target.
HARDWARE := $(if $(wildcard mk/hardware.mk),test-hardware)

.PHONY: test test-unit test-guest test-e2e
# One part's failure does not keep the next from being seen.
test: $(READY) $(GUEST_PROGRAMS)
	@failed=; \
	$(MAKE) lint || failed+=' lint'; \
	$(PYTEST) tests/unit tests/guest tests/e2e || failed+=' pytest'; \
	for target in $(HARDWARE); do $(MAKE) $$target || failed+=" $$target"; done; \
	[ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

test-unit: $(READY)
	$(PYTEST) tests/unit

test-guest: $(READY) $(GUEST_PROGRAMS)
	$(PYTEST) tests/guest

test-e2e: $(READY)
	$(PYTEST) tests/e2e

# Not part of `make test`: about ten minutes.
CYCLES ?= 10000
CLIENTS ?= 4
.PHONY: soak
soak: $(READY)
	$(BIN)/python tests/soak/soak.py --cycles $(CYCLES) --clients $(CLIENTS)
