# stress-ng's stressors, natively and in a sandbox: a quarter of an hour, so no part of `make test`. NAMES=a,b: these alone.
.PHONY: stress
stress: $(READY)
	@command -v stress-ng >/dev/null || { echo "missing: stress-ng. Install it: apt-get install stress-ng" >&2; exit 1; }
	$(BIN)/python tests/conformance/stress_ng.py --jobs 2 $(if $(NAMES),--only $(NAMES))
