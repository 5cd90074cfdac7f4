# Hardware-style KVM on any machine: QEMU emulates an AMD processor with SVM, a Debian kernel with the real kvm_amd module runs in it, and
# Quark's sandboxes run on that: with nested paging and with shadow paging. This machine's root is the bed's, read-only.

HARDWARE_BED := build/hardware
HARDWARE_SECONDS ?= 900

.PHONY: test-hardware
test-hardware: $(READY) $(HARDWARE_BED)/.ready
	@PYTHONPATH=tests/guest $(BIN)/python -c 'from guest_harness import building, cases; building.build_all(c for c in cases.DEFAULT if c.link == "static")'
	@for npt in 1 0; do \
		echo "hardware KVM, npt=$$npt"; \
		tests/hardware/boot.sh $(HARDWARE_BED) $(HARDWARE_SECONDS) npt=$$npt "$(CURDIR)/tests/hardware/checks.sh $(CURDIR)" || exit 1; \
	done

$(HARDWARE_BED)/.ready: tests/hardware/setup.sh tests/hardware/init
	@$(LOCKED) tests/hardware/setup.sh $(HARDWARE_BED)
	@touch $@
