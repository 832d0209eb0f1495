# Parlor's tasks. make help lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Of the commit, and nothing of this machine or of now: docs/install.md says how others build
# the same bytes. Twelve digits, since git shows as many as it needs here and now.
VERSION := $(shell git describe --tags --always --abbrev=12 --dirty 2>/dev/null)
REVISION := $(shell git rev-parse HEAD 2>/dev/null)
COMMITTED := $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)
SERVER := parlor/internal/server
LDFLAGS := -s -w -X $(SERVER).version=$(VERSION) -X $(SERVER).revision=$(REVISION) -X $(SERVER).committed=$(COMMITTED)
MAX_BINARY_MB := 45
# Builders of requests, thousands of them, of which we use few: with calls in place they are
# 3 MB larger. What reads settings and draws on terminals is in no hurry either: 0.5 MB.
COLD := github.com/redis/rueidis/internal/cmds github.com/aws/aws-sdk-go-v2/service/... github.com/alecthomas/kong \
	github.com/goccy/go-yaml/... google.golang.org/protobuf/... charm.land/... github.com/charmbracelet/... \
	github.com/aws/aws-sdk-go-v2/config/... github.com/aws/aws-sdk-go-v2/credentials/... github.com/aws/smithy-go/... \
	github.com/aws/aws-sdk-go-v2/aws/... github.com/pressly/goose/... golang.org/x/crypto/... github.com/coder/websocket \
	github.com/mattn/... parlor/cmd/... parlor/internal/config
LEAN := $(foreach package,$(COLD),-gcflags='$(package)=-l')

FUZZTIME ?= 60s
SOAKCOUNT ?= 20
SOAKTIME ?= 10m

JS := internal/parlortest/testdata/js/package.json
# The packages that have load tests, which the race detector would slow down.
LOAD = $(shell grep -rl --include='*_test.go' --exclude-dir=.cache '^func TestLoad' . | xargs -r -n1 dirname | sort -u)

.PHONY: help run build packages sbom test deps check bench fuzz soak clean

help: ## list the tasks
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: build ## start a development server (ARGS='--listen 127.0.0.1:0')
	@exec bin/parlor dev $(ARGS)

build: ## build bin/parlor, one static binary
	CGO_ENABLED=0 GOAMD64=v1 go build -trimpath -buildvcs=false $(LEAN) -ldflags '$(LDFLAGS)' -o bin/parlor ./cmd/parlor

packages: build sbom ## build a deb and an rpm of this machine's architecture into dist
	VERSION='$(VERSION)' COMMITTED='$(COMMITTED)' deploy/package/build.sh bin/parlor dist

sbom: build ## write what is linked into bin/parlor to dist: a CycloneDX file, and the licenses
	mkdir -p dist
	cd deploy/release && go run ./sbom -version '$(VERSION)' -out ../../dist/parlor.cdx.json ../../bin/parlor
	cd deploy/release && go run ./sbom -licenses -out ../../dist/licenses.txt ../../bin/parlor

test: deps ## run all tests; first install what they need, on Debian as root
	go test -race -shuffle=on -timeout 20m ./...
	cd bench && go test -race -shuffle=on ./...
	cd deploy/test && go test -shuffle=on ./...
	cd deploy/release && go test -shuffle=on ./...
	@if [ -n '$(LOAD)' ]; then set -x; go test -run '^TestLoad' -count=1 $(LOAD); fi

# What the tests need beside Go. On Debian as root it is installed. Elsewhere what is
# missing is named and its tests skip; under CI=true that is a failure.
deps:
	@wanted() { \
	  command -v gcc >/dev/null || echo gcc libc6-dev; \
	  command -v buildah >/dev/null || echo buildah; \
	  command -v mmdebstrap >/dev/null || echo mmdebstrap; \
	  command -v rpm >/dev/null || echo rpm; \
	  command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || echo chromium; \
	  command -v haproxy >/dev/null || [ -x /usr/sbin/haproxy ] || echo haproxy; \
	  command -v sqlite3 >/dev/null || echo sqlite3; \
	  command -v curl >/dev/null || echo curl; \
	  command -v openssl >/dev/null || echo openssl; \
	  command -v systemd-analyze >/dev/null || echo systemd; \
	  command -v ip >/dev/null || [ -x /sbin/ip ] || echo iproute2; \
	  node --version >/dev/null 2>&1 || echo nodejs; \
	  npm --version >/dev/null 2>&1 || echo npm; \
	  aws --version >/dev/null 2>&1 || echo awscli; \
	  command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || echo postgresql; \
	  command -v redis-server >/dev/null || echo redis-server; \
	  python3 -c 'import boto3, websockets' 2>/dev/null || /usr/bin/python3 -c 'import boto3, websockets' 2>/dev/null || echo python3-boto3 python3-websockets; \
	}; \
	packages=$$(wanted | xargs); \
	if [ -n "$$packages" ] && [ -f /etc/debian_version ] && [ "$$(id -u)" = 0 ]; then \
	  echo "installing $$packages"; \
	  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$packages; } >/dev/null || true; \
	  packages=$$(wanted | xargs); \
	fi; \
	if npm --version >/dev/null 2>&1 && ! cmp -s $(JS) .cache/node/installed.json; then \
	  echo 'installing the JavaScript clients into .cache/node'; \
	  mkdir -p .cache/node; cp $(JS) .cache/node/package.json; \
	  (cd .cache/node && npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error) && cp $(JS) .cache/node/installed.json || true; \
	fi; \
	cmp -s $(JS) .cache/node/installed.json || packages="$$packages the-npm-packages-of-$(JS)"; \
	if [ -n "$$packages" ]; then \
	  echo "Missing, so some tests cannot run: $$packages" >&2; \
	  [ "$${CI:-}" != true ]; \
	fi

check: ## gofmt, vet, staticcheck, a tidy go.mod, a static build of bounded size
	@unformatted=$$(gofmt -l *.go bench cmd deploy internal testserver); [ -z "$$unformatted" ] || { echo "gofmt -w $$unformatted"; exit 1; }
	go vet ./...
	go tool staticcheck ./...
	go mod tidy -diff
	cd bench && go vet ./... && go tool -modfile=../go.mod staticcheck ./... && go mod tidy -diff
	cd deploy/test && go vet ./... && go tool -modfile=../../go.mod staticcheck ./... && go mod tidy -diff
	cd deploy/release && go vet ./... && go tool -modfile=../../go.mod staticcheck ./... && go mod tidy -diff
	@$(MAKE) --no-print-directory build
	@bytes=$$(wc -c <bin/parlor); echo "bin/parlor: $$((bytes / 1000000)) MB"; \
	[ $$bytes -le $$(($(MAX_BINARY_MB) * 1000000)) ] || { echo "more than $(MAX_BINARY_MB) MB"; exit 1; }

bench: ## run the benchmarks
	go test -run '^$$' -bench . -benchmem ./...

fuzz: ## run every fuzz target for FUZZTIME
	@grep -rHoE --include='*_test.go' --exclude-dir=.cache '^func Fuzz[A-Za-z0-9_]+' . | sort | while IFS=: read -r file name; do \
	  echo "$$(dirname "$$file") $${name#func }"; \
	  go test -run '^$$' -fuzz "^$${name#func }\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x "$$(dirname "$$file")" </dev/null; \
	done

soak: ## run the tests SOAKCOUNT times, kill servers for SOAKTIME, have nodes suffer faults at length, and torment a gateway
	PARLOR_SOAK=$(SOAKTIME) go test -race -run '^(TestCrash|TestFaults|TestNodes.*)$$' -count=1 -timeout 0 -v ./internal/parlortest
	PARLOR_SOAK=$(SOAKTIME) go test -race -run '^TestTorment$$' -count=1 -timeout 0 -v ./internal/gateway
	go test -race -shuffle=on -count=$(SOAKCOUNT) -timeout 0 ./...
	@if [ -n '$(LOAD)' ]; then set -x; go test -run '^TestLoad' -count=$(SOAKCOUNT) -timeout 0 $(LOAD); fi

clean: ## remove what was built and installed here
	rm -rf bin dist .cache
