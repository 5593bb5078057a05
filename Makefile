# Every target works on a machine with Go and a C compiler; what needs more
# says so. `make help` lists them.

GO      ?= go
BIN     := bin
# The race detector needs cgo; the rest is pure Go.
RACE    := ./activities/... ./alertbridge/... ./devices/... ./internal/... ./starter/... ./worker/... ./workflows/...
FUZZTIME ?= 20s

.DEFAULT_GOAL := help
.PHONY: help demo dev build test race bench bench-macro bench-drift bench-rollout bench-scrape lint vet determinism fuzz record tools vuln clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## break two devices and watch them heal, then exit (first run builds Prometheus: some minutes)
	$(GO) run ./dev demo

dev: ## run everything in one process until Ctrl-C
	$(GO) run ./dev

build: ## build the four programs into bin/
	$(GO) build -o $(BIN)/edgefleet ./starter
	$(GO) build -o $(BIN)/edgefleet-worker ./worker
	$(GO) build -o $(BIN)/edgefleet-alertbridge ./alertbridge
	$(GO) build -o $(BIN)/edgefleet-dev ./dev

test: ## run all tests
	$(GO) test -timeout 30m ./...

race: ## run the tests with the race detector
	$(GO) test -timeout 30m -race $(RACE)

bench: ## Go benchmarks, then the macro run (200 devices alerting at once)
	$(GO) test -run '^$$' -bench . -benchmem $(RACE)
	$(MAKE) bench-macro
	$(MAKE) bench-scrape

bench-scrape: ## what 1,000 devices cost that Prometheus scrapes every 30 s (two minutes)
	$(GO) test ./integration/prometheus -run '^$$' -bench ThousandDevices -benchtime 2x

bench-drift: ## a drift scan of 1,000 devices 20 ms away, beside a bare loop (one minute)
	$(GO) test ./dev/stack -run '^$$' -bench DriftScan -benchtime 5x

bench-rollout: ## rollouts over 1,000 and 10,000 devices, and one beside a bare loop (six minutes)
	$(GO) test ./dev/stack -timeout 30m -run '^$$' -bench Rollout -benchtime 1x

bench-macro: ## only the macro run
	$(GO) run ./dev bench

lint: vet determinism ## vet, gofmt, golangci-lint with the edges of the layers, workflowcheck
	$(GO) run ./dev/tools golangci-lint
	$(BIN)/golangci-lint run ./...

vet:
	$(GO) vet ./...
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt -w on these files'; exit 1; }

determinism: ## workflowcheck: no clock, randomness, map order or goroutine in workflow code
	$(GO) run ./dev/tools workflowcheck
	$(BIN)/workflowcheck ./workflows/...

vuln: ## govulncheck; needs the vulnerability database's site
	$(GO) run ./dev/tools govulncheck
	$(BIN)/govulncheck ./...

tools: ## build Prometheus, Alertmanager, promtool and amtool into bin/
	$(GO) run ./dev/tools

record: ## record new histories for the replay test
	$(GO) test ./dev/stack -run TestRecordHistories -record -count=1

fuzz: ## run every fuzz target for FUZZTIME each
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; done; done

clean: ## remove what was built, and the state of make dev
	rm -rf $(BIN) .edgefleet
