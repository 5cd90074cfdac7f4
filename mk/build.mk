# Two ways to have a working `quark` in .venv: installed from a wheel ($(INSTALLED)), or run from the source tree (dev). The one
# asked for last is in force, and $(READY) keeps it up to date for the targets that use it.

INSTALLED := $(VENV)/.installed
DEV_PATH := $(VENV)/lib/python3.11/site-packages/quark-source-tree.pth
READY := $(if $(wildcard $(DEV_PATH)),dev,$(INSTALLED))
SOURCES := pyproject.toml $(wildcard README.md) LICENSE CMakeLists.txt bin/quark bin/snapshotd \
	$(shell find $(PACKAGES) qkernel -type f ! -path '*/__pycache__/*' ! -name '*.so' ! -path 'qvisor/data/*' ! -name '*.new')

.PHONY: all dev FORCE
all: $(INSTALLED)

# Changes when a source appears or goes, which no file's time tells.
build/sources.list: FORCE
	@printf '%s\n' $(SOURCES) | cmp -s - $@ || printf '%s\n' $(SOURCES) >$@

$(INSTALLED): $(REQUIREMENTS) $(SOURCES) build/sources.list
	$(LOCKED) $(BIN)/pip install -q --no-build-isolation --no-deps --force-reinstall --config-settings=cmake.define.QUARK_WERROR=ON .
	@rm -f $(DEV_PATH)
	@touch $@

build/dev/build.ninja: mk/build.mk | $(REQUIREMENTS)
	@$(LOCKED) cmake -S . -B build/dev -G Ninja -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -DQUARK_IN_PLACE=ON -DQUARK_WERROR=ON --log-level=WARNING

# -k 0: when the kernel does not compile, the C part of QVisor is still put in place, and the other way round.
dev: build/dev/build.ninja $(DEV_PATH)
	@$(LOCKED) cmake --build build/dev -- -k 0 --quiet

$(DEV_PATH): bin/quark bin/snapshotd | $(REQUIREMENTS)
	@$(LOCKED) $(BIN)/pip uninstall -q -y quark 2>/dev/null
	@sed 's|^from quark.cli|sys.path.insert(0, "$(CURDIR)")\n&|' bin/quark >$(BIN)/quark
	@cp bin/snapshotd $(BIN)/snapshotd
	@chmod 755 $(BIN)/quark $(BIN)/snapshotd
	@rm -f $(INSTALLED)
	@echo '$(CURDIR)' >$@
	@echo '.venv runs from the source tree'
