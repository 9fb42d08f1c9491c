# Dovetail: build, run and test. See README.md.

GO       ?= go
BIN      := bin
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FLAVOR   ?= upstream
FLAVORS  := upstream rhel9 debian
LDFLAGS  := -s -w -X main.version=$(VERSION) -X github.com/dovetail-mail/dovetail/internal/conf/flavor.Name=$(FLAVOR)
GOLANGCI := $(BIN)/tools/golangci-lint
GOLANGCI_VERSION := v2.15.0
export CGO_ENABLED ?= 0

.PHONY: all run build build-nss test race bench lint fuzz vuln docs clean deps

ifeq ($(filter $(FLAVOR),$(FLAVORS)),)
$(error FLAVOR is $(FLAVOR), must be one of: $(FLAVORS))
endif

all: build

## run: start a mail server in ./dovetail-data on loopback, with a demo account
run: build
	$(BIN)/dovetail serve

## build: bin/dovetail, one static binary, and bin/postdrop, which packages install set-gid, with the defaults of a distribution (FLAVOR)
build:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/dovetail ./cmd/dovetail
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/postdrop ./cmd/postdrop
	@$(MAKE) --no-print-directory build-nss

## build-nss: bin/dovetail-nss, for PAM and the name service switch (needs a C compiler and PAM's header)
build-nss:
	@if [ -e /usr/include/security/pam_appl.h ] && command -v $$($(GO) env CC) >/dev/null; then \
	  CGO_ENABLED=1 $(GO) build -trimpath -ldflags '-s -w' -o $(BIN)/dovetail-nss ./cmd/dovetail-nss; \
	else echo "bin/dovetail-nss is left out: a C compiler or PAM's header is missing (gcc, libpam0g-dev or pam-devel); passdb pam and shadow will be refused"; fi

## test: everything; installs the packages that the interoperation tests need when run as root
test: deps build
	$(GO) vet ./...
	$(GO) test -timeout 18m -p $$(($$(nproc) + 1)) ./...

## race: the unit tests under the race detector (needs a C compiler)
race:
	CGO_ENABLED=1 $(GO) test -race -timeout 30m ./internal/...

## bench: measure against the installed Postfix and Dovecot, as ratios
bench: deps build
	$(GO) run ./test/bench

## lint: formatting, vet, staticcheck, errcheck and the project's own layout rules
lint: $(GOLANGCI)
	$(GOLANGCI) run ./...

$(GOLANGCI):
	GOBIN=$(CURDIR)/$(BIN)/tools $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

## fuzz: each fuzz target for a while (FUZZTIME, default 30s)
FUZZTIME ?= 30s
fuzz:
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; done

## vuln: known vulnerabilities in what the binary links
vuln:
	$(GO) run golang.org/x/vuln/cmd/govulncheck@latest ./...

## docs: write the generated documents
docs:
	$(GO) build -o $(BIN)/docs ./cmd/dovetail
	$(BIN)/docs coverage > docs/coverage.md
	$(BIN)/docs coverage dovecot > docs/settings/dovecot.md
	$(BIN)/docs coverage postfix > docs/settings/postfix.md
	rm $(BIN)/docs

deps:
	@test/install-packages

clean:
	rm -rf $(BIN)
	$(GO) clean -testcache
