# What the system and the virtual environment need. $(REQUIREMENTS) is up to date when all of it is there.

# WHAT:PACKAGE, the Debian package to install when the command or file WHAT is missing.
SYSTEM := gcc:gcc g++:g++ cmake:cmake ninja:ninja-build git:git $(PYTHON):python3.11 \
	/usr/include/python3.11/Python.h:libpython3.11-dev /usr/lib/python3.11/ensurepip/__init__.py:python3.11-venv \
	node:nodejs ruby:ruby /usr/lib/postgresql/15/bin/initdb:postgresql-15 \
	/usr/lib/python3.11/test/libregrtest:libpython3.11-testsuite \
	/usr/include/linux/kvm.h:linux-libc-dev /usr/lib/x86_64-linux-gnu/libc.a:libc6-dev \
	/usr/bin/top:procps /usr/bin/vim:vim /usr/bin/tmux:tmux /usr/bin/screen:screen /usr/bin/expect:expect \
	clang-14:clang-14 llvm-symbolizer-14:llvm-14 /usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.fuzzer-x86_64.a:libclang-rt-14-dev
REQUIREMENTS := $(VENV)/.requirements

.PHONY: setup system
setup: $(REQUIREMENTS)

system:
	@missing=; \
	for item in $(SYSTEM); do \
		command -v "$${item%%:*}" >/dev/null || [ -e "$${item%%:*}" ] || missing+=" $${item##*:}"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
		echo "missing:$$missing. Install them: sudo apt-get install$$missing" >&2; exit 1; \
	fi; \
	apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing

# The stamp holds the requirements it was made from, so other edits of pyproject.toml install nothing.
$(REQUIREMENTS): pyproject.toml mk/requirements.py | system
	@[ -x $(BIN)/pip ] || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python mk/requirements.py pyproject.toml >build/requirements.txt
	@cmp -s build/requirements.txt $@ || $(LOCKED) $(BIN)/pip install -q -r build/requirements.txt
	@cp build/requirements.txt $@
