# `make help` lists the targets. Tools are built from tools/go.mod, once a version, into bin/.

.DEFAULT_GOAL := all
.NOTPARALLEL:

GO       ?= go
TIMEOUT  ?= 12m
FUZZTIME ?= 30s
SEEDS    ?= 2000
FIRST    ?= 1
MARATHON ?= 200000
RACE     ?= -race

# Every module that is built and tested; tools/ only carries versions.
MODULES := $(patsubst %/,%,$(dir $(wildcard go.mod examples/*/go.mod tests/*/go.mod)))
VERSION  = $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

LINT_VERSION := $(shell sed -n 's|.*golangci/golangci-lint/v2 \(v[^ ]*\).*|\1|p' tools/go.mod)
LINT         := $(CURDIR)/bin/golangci-lint-$(LINT_VERSION)

# $(call each,COMMAND) runs COMMAND in every module, and fails if it failed in any.
define each
@status=0; for module in $(MODULES); do (cd $$module && echo "== $$module: $(1)" && $(1)) || status=1; done; exit $$status
endef

.PHONY: all
all: fmt vet lint test bench-once ## format, vet, lint, tests with the race detector, benchmarks once

.PHONY: build
build: ## bin/limpet, with its version from git; needs Go alone
	@scripts/deps.sh build
	$(GO) build -buildvcs=false -ldflags '-X github.com/limpet-rpc/limpet/internal/version.stamped=$(VERSION)' -o bin/limpet ./cmd/limpet

.PHONY: test
test: deps ## what CI tests: vet, build and test every module, all but the benchmark with the race detector
	$(call each,$(GO) vet ./...)
	$(call each,$(GO) build -buildvcs=false ./...)
	$(call each,$(GO) test `[ $$module = tests/bench ] || echo $(RACE)` -timeout $(TIMEOUT) `$(GO) list ./... | grep -v /internal/sim`) # what the benchmark weighs, the race detector would weigh too
	$(GO) test -timeout $(TIMEOUT) -run 'CallAllocat|CallsAllocate' ./tests ./internal/zmqio # likewise
	$(GO) test -timeout $(TIMEOUT) ./internal/sim # its worlds share nothing, and are ten times as fast without the race detector

.PHONY: vet
vet: deps ## go vet in every module
	$(call each,$(GO) vet ./...)

.PHONY: lint
lint: deps $(LINT) ## golangci-lint in every module (.golangci.yml), shellcheck where it is installed
	$(call each,$(LINT) run ./...)
	@if command -v shellcheck >/dev/null; then echo "== shellcheck"; shellcheck scripts/*.sh .ci/run; \
	else echo "== shellcheck is not installed: scripts not checked"; fi

.PHONY: fmt
fmt: $(LINT) ## format every module (gofumpt)
	$(LINT) fmt

.PHONY: bench-once
bench-once: deps ## every benchmark for one iteration: shows that they run, not how fast
	$(call each,$(GO) test -run '^$$' -bench . -benchtime 1x ./...)

.PHONY: bench
bench: deps ## Limpet beside its peers, about ten minutes on a quiet machine, and where the CPU goes: writes docs/benchmarks.md, its chart and docs/profile.md
	cd tests/bench && $(GO) build -buildvcs=false -o limpet-bench . && ./limpet-bench peers --page ../../docs/benchmarks.md && ./limpet-bench where --page ../../docs/profile.md

.PHONY: bench-quick
bench-quick: deps ## the same in half a minute, printed only: shows that it runs, not how fast
	cd tests/bench && $(GO) build -buildvcs=false -o limpet-bench . && ./limpet-bench peers --quick

.PHONY: fuzz
fuzz: deps ## every fuzz target for FUZZTIME (30s)
	FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

.PHONY: sim
sim: ## the simulator: SEEDS (2000) worlds from seed FIRST (1) on
	$(GO) test -count 1 -timeout 4h -v -run '^TestSeeds$$' ./internal/sim -seeds $(SEEDS) -first $(FIRST)

# What QUICK=1 runs.
MAIN_MUTANTS := $(basename $(notdir $(wildcard $(patsubst %,tests/mutants/%-*.patch,holder repeated offer-return lease queue ack))))

.PHONY: mutants
mutants: ## remove one protection at a time (tests/mutants): some seed must notice; QUICK=1: the main ones, by their recorded seeds
	SEEDS= GO=$(GO) scripts/mutants.sh $(if $(QUICK),--quick $(MAIN_MUTANTS))

.PHONY: soak
soak: deps ## the long runs: 200,000 seeds, all mutants, 600,000 HTTP requests, every prime by itself, a scatter of a million, a slow member of a broadcast, 120,000 strangers, the chaos soak, every fuzz target for a minute
	$(MAKE) sim SEEDS=$(MARATHON)
	$(GO) test -count 1 -timeout 4h -v -run '^TestCellSeeds$$' ./internal/sim -cell-seeds 100000
	$(GO) test -count 1 -timeout 1h -v -run 'Election|Busy' ./heartbeat -election-faults 3 -election-seeds 20000
	$(MAKE) mutants QUICK=
	cd tests/bench && $(GO) build -buildvcs=false -o limpet-bench . && ./limpet-bench primes-soak --check && ./limpet-bench primes-every --check
	LIMPET_SOAK=1 $(GO) test -count 1 -timeout 1h -v -run '^(TestScatterAMillion|TestBroadcastSlowMember|TestStormOfMutants)$$' ./tests
	cd tests/chaos && LIMPET_SOAK=1 $(GO) test -count 1 -timeout 2h -v ./...
	$(MAKE) fuzz FUZZTIME=1m

.PHONY: cover
cover: deps ## coverage of the main module, to bin/cover.html
	@mkdir -p bin
	$(GO) test -timeout $(TIMEOUT) -coverpkg=./... -coverprofile=bin/cover.out ./...
	$(GO) tool cover -html=bin/cover.out -o bin/cover.html
	@$(GO) tool cover -func=bin/cover.out | tail -n 1

.PHONY: demo
demo: ## the main job: broker, two workers, a per-hit front end, real hits, a summary
	scripts/demo.sh

.PHONY: serve
serve: ## the demo, left running
	scripts/demo.sh --serve

.PHONY: deps
deps: ## install what building and testing needs and is missing
	@scripts/deps.sh

.PHONY: clean
clean: ## remove bin/
	rm -rf bin

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

$(LINT):
	@echo "== building golangci-lint $(LINT_VERSION) (once; two minutes or so)"
	cd tools && $(GO) build -buildvcs=false -ldflags '-s -w' -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
