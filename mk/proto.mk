# The gRPC stubs in quark/snapshot/v1, generated from proto/ and committed; lint-proto fails when they are not what proto/ gives.

PROTOS := $(wildcard proto/quark/snapshot/v1/*.proto)
STUBS := quark/snapshot/v1

define generate-stubs
	@mkdir -p $(1)
	@PATH=$(BIN):$$PATH $(BIN)/python -m grpc_tools.protoc -I proto --python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) $(PROTOS)
endef

.PHONY: proto lint-proto
proto: $(REQUIREMENTS)
	$(call generate-stubs,.)

lint-proto: $(REQUIREMENTS)
	@rm -rf build/proto
	$(call generate-stubs,build/proto)
	@for file in build/proto/$(STUBS)/*; do \
		cmp -s $$file $(STUBS)/$$(basename $$file) || { echo "$(STUBS)/$$(basename $$file) is not what proto/ gives: make proto"; exit 1; }; \
	done
