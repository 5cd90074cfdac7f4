# Fuzzing (docs/fuzzing.md): MINUTES of all fuzzers in sum, two at a time. Then errors that are planted, which they have to find.
MINUTES ?= 10

.PHONY: fuzz fuzz-plants
fuzz: $(READY)
	$(BIN)/python tests/fuzz/fuzz.py --minutes $(MINUTES)

fuzz-plants: $(READY)
	$(BIN)/python tests/fuzz/fuzz.py --plants
