# CPython's own tests, case by case in sandboxes and natively (docs/conformance.md).

CPYTHON := $(BIN)/python tests/conformance/cpython.py $(CPYTHON_ARGS)

.PHONY: conformance test-conformance
# All modules. CPYTHON_ARGS names some, as in `make conformance CPYTHON_ARGS=test_os`.
conformance: $(READY)
	$(CPYTHON) --json build/conformance.json

# The modules that say most about a kernel: at most ten minutes on two processors.
test-conformance: $(READY)
	$(CPYTHON) --list tests/conformance/cpython_ci.txt --json build/conformance-ci.json
