# The one list of tasks: CI calls the same targets as people do. `make` alone prints them.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# Where cargo puts what it builds.
TARGET := $(or $(CARGO_TARGET_DIR),target)
PLANE := $(CARGO) run --quiet --example control-plane --

# The demo's store: local or minio.
STORE ?= local
# The image's name and tag.
IMAGE ?= ark:dev
# What to build the image with: docker or podman, whichever is there.
ENGINE ?= $(shell command -v docker || command -v podman)
# The providers in a release, with commas between them; empty means all: docs/install.md.
FEATURES ?=
# The machine that a release is for.
RELEASE_TARGET ?= $(shell rustc -vV | sed -n 's/^host: //p')

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build ark for this machine, quickly
	$(CARGO) build

.PHONY: lint
lint: ## Check the formatting, and everything that clippy knows
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

# Tests wait for servers more than they compute: more of them at once than there are cores.
.PHONY: test
test: control-plane ## Run all tests against a real control plane and a real S3 server
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} $(CARGO) test
	$(CARGO) check --no-default-features

.PHONY: control-plane
control-plane: ## Build the control plane of the tests (minutes, once)
	$(PLANE) build all

.PHONY: cluster-up
cluster-up: ## Start a control plane in the background, for development
	@$(PLANE) up

.PHONY: cluster-down
cluster-down: ## End it and remove its data
	@$(PLANE) down

.PHONY: demo
demo: ## Back up, lose and restore an application (STORE=local or minio)
	@STORE=$(STORE) tests/demo.sh

.PHONY: bench
bench: control-plane ## Run the benchmarks
	$(CARGO) bench

.PHONY: manifests
manifests: ## Write the generated parts of manifests/ anew
	UPDATE_MANIFESTS=1 $(CARGO) test --lib manifests

.PHONY: docs
docs: ## Write the pages on the command line anew, docs/cli.md, docs/ark.1, docs/restore-rules.md
	UPDATE_DOCS=1 $(CARGO) test --bin ark docs
	UPDATE_DOCS=1 $(CARGO) test --lib rules

# The flags go with an explicit target, else they would apply to build scripts and procedural macros too, and these
# cannot be static. Static, since the image has nothing but ark in it; and getrandom's own backend for that, since its
# default looks a symbol up in a C library that is not there. Relocations are packed, which saves 2 MB; a C library
# older than glibc 2.36 cannot start such a program, so it is tried.
.PHONY: release
release: ## Build a static ark for other machines (FEATURES=aws,csi)
	RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom" -C link-arg=-Wl,-z,pack-relative-relocs' \
		$(CARGO) build --release --bin ark --target $(RELEASE_TARGET) \
			$(if $(FEATURES),--no-default-features --features $(FEATURES))
	@$(TARGET)/$(RELEASE_TARGET)/release/ark --version
	@echo "$(TARGET)/$(RELEASE_TARGET)/release/ark"

# From scratch, with the certificate authorities of this machine: object stores are reached over TLS.
.PHONY: image
image: release ## Build a container image (IMAGE=name:tag)
	@[[ -n "$(ENGINE)" ]] || { echo "image: needs docker or podman" >&2; exit 1; }
	rm -rf $(TARGET)/image && mkdir -p $(TARGET)/image
	cp $(TARGET)/$(RELEASE_TARGET)/release/ark $(TARGET)/image/ark
	cp "$$(for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do \
		if [[ -f $$file ]]; then echo $$file; break; fi; done)" $(TARGET)/image/ca-certificates.crt
	$(ENGINE) build --file Containerfile --tag $(IMAGE) $(TARGET)/image

.PHONY: clean
clean: ## Remove everything that was built, the control plane too
	-@$(PLANE) down
	$(CARGO) clean
