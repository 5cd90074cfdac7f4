# Formatters and checkers. clang-tidy is slow, so each file is checked again only when it or a header has changed.

C_DIRS := $(wildcard qkernel qvisor/native qvisor/program tests)
C_FILES := $(shell find $(C_DIRS) -name '*.[ch]')
TIDY_FILES := $(filter-out qkernel/include/%,$(filter qkernel/%.c qvisor/native/%.c qvisor/program/%.c,$(C_FILES)))
TIDY_STAMPS := $(TIDY_FILES:%=build/lint/%.tidy)
SCRIPTS := mk/requirements.py mk/exit_codes.py mk/attack_surface.py mk/lifecycles.py mk/sync_client.py qkernel/gen_syscalls.py qvisor/native/ffi_build.py tests/conformance/cpython.py
PY_DIRS := $(PACKAGES) $(SCRIPTS) $(wildcard tests demo)

.PHONY: lint lint-python lint-c lint-docs generated format
lint: lint-python lint-docs lint-proto lint-c

lint-python: $(REQUIREMENTS)
	$(BIN)/ruff check -q $(PY_DIRS)
	$(BIN)/ruff format -q --check $(PY_DIRS)
	$(BIN)/mypy
	$(BIN)/mypy --strict $(SCRIPTS)

lint-docs: $(REQUIREMENTS) $(READY)
	@$(BIN)/python qkernel/gen_syscalls.py qkernel/syscalls.tbl --check-doc docs/syscalls.md
	@$(BIN)/python mk/exit_codes.py docs/exit-codes.md --check
	@$(BIN)/python mk/lifecycles.py docs/architecture.md --check
	@$(BIN)/python mk/sync_client.py --check
	@$(BIN)/python tests/conformance/cpython.py --check-page

lint-c: $(REQUIREMENTS) $(TIDY_STAMPS)
	@failed=; \
	for file in $(C_FILES); do $(BIN)/clang-format --dry-run -Werror $$file 2>/dev/null || failed+=" $$file"; done; \
	[ -z "$$failed" ] || { printf 'not formatted (make format):'; printf ' %s' $$failed; echo; exit 1; }

build/lint/%.c.tidy: %.c $(filter %.h,$(C_FILES)) .clang-tidy | generated
	@mkdir -p $(@D)
	@$(BIN)/clang-tidy --quiet -p build/dev $< && touch $@

# The compile commands and the headers that the build generates.
generated: build/dev/build.ninja
	@$(LOCKED) cmake --build build/dev --target generated -- --quiet | sed /no.work/d

format: $(REQUIREMENTS)
	$(BIN)/ruff check -q --fix-only $(PY_DIRS)
	$(BIN)/ruff format -q $(PY_DIRS)
	$(if $(C_FILES),$(BIN)/clang-format -i $(C_FILES))
