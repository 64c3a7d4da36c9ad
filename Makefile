# Building, running and testing. The targets people use: build (the default), run, test, install, docs, bench,
# lint.
#
#   make                                            for the nginx of this machine (packages nginx, nginx-dev)
#   make NGINX_SOURCE_DIR=... NGINX_BUILD_DIR=...   for any configured tree
#   make VENDORED=1                                 for the nginx that the crate nginx-src carries

SHELL := /bin/bash
CARGO ?= cargo
PYTHON ?= python3
JOBS ?= 2

MODULE := ngx_http_registry_auth_module.so
SO := release/libngx_http_registry_auth_module.so
OUT := build

# --- what to build against ----------------------------------------------------------------------------------

ifdef VENDORED
  # Options of nginx-src's ./configure beyond its own: what the tests and the shipped configuration use.
  export NGX_CONFIGURE_ARGS ?= --with-http_auth_request_module --with-http_stub_status_module --with-debug \
    --with-http_v3_module --with-http_slice_module --with-http_addition_module --with-http_sub_module
  # A make that calls this one may have exported the tree it builds against.
  unexport NGINX_SOURCE_DIR NGINX_BUILD_DIR
  OUT := build/vendored
  TARGET := target/vendored
  FEATURES := --features vendored
  TREE :=
else ifdef NGINX_SOURCE_DIR
  NGINX_BUILD_DIR ?= $(NGINX_SOURCE_DIR)/objs
  export NGINX_SOURCE_DIR NGINX_BUILD_DIR
  TARGET := target
  TREE :=
else
  # Debian's nginx-dev: sources as the package was configured from, without what ./configure writes.
  DEBIAN_TREE := $(CURDIR)/build/nginx-debian
  export NGINX_SOURCE_DIR := $(DEBIAN_TREE)
  export NGINX_BUILD_DIR := $(DEBIAN_TREE)/objs
  TARGET := target
  TREE := $(DEBIAN_TREE)/objs/Makefile
endif

export CARGO_TARGET_DIR := $(CURDIR)/$(TARGET)

# What is built names no folder of this machine, and is the same byte for byte wherever and whenever it is
# built: mimalloc has the time of its compilation in it. Not so an incremental build, which is its maker's
# alone.
ifneq ($(CARGO_INCREMENTAL),1)
CARGO_HOME_DIR := $(or $(CARGO_HOME),$(HOME)/.cargo)
# The longer one last: of several that match, the last counts.
REMAPPED := $(CARGO_HOME_DIR)=/cargo $(CURDIR)=/registry-auth
RUST_REMAP := $(foreach each,$(REMAPPED),--remap-path-prefix=$(each))
C_REMAP := $(foreach each,$(REMAPPED),-ffile-prefix-map=$(each))
REMAP := SOURCE_DATE_EPOCH=$(or $(SOURCE_DATE_EPOCH),0) RUSTFLAGS="$(strip $(RUSTFLAGS) $(RUST_REMAP))" \
  CFLAGS="$(strip $(CFLAGS) $(C_REMAP))"
endif

.PHONY: build
build: prerequisites-build $(TREE)
	@mkdir -p $(OUT)
	$(REMAP) $(CARGO) build --release --locked -p ngx-http-registry-auth-module -p registry-authctl $(FEATURES)
	install -m 644 $(TARGET)/$(SO) $(OUT)/$(MODULE).new && mv $(OUT)/$(MODULE).new $(OUT)/$(MODULE)
	install -m 755 $(TARGET)/release/registry-authctl $(OUT)/registry-authctl.new && \
		mv $(OUT)/registry-authctl.new $(OUT)/registry-authctl
ifdef VENDORED
	built=$$(ls -t $(TARGET)/release/build/ngx-http-registry-auth-module-*/out/nginx-build-dir | head -1) && \
		install -m 755 "$$(cat "$$built")/nginx" $(OUT)/nginx
endif

ifdef DEBIAN_TREE
# Configured again whenever the installed nginx changes: a module loads only into the version it was built
# for.
$(TREE): $(wildcard /usr/share/nginx/src/conf_flags /usr/sbin/nginx)
	@[ -e /usr/share/nginx/src/conf_flags ] || { echo 'make: the sources of nginx are missing: install the' \
		'package nginx-dev (apt-get install nginx-dev), or name a configured tree (NGINX_SOURCE_DIR=...' \
		'NGINX_BUILD_DIR=...), or build for an nginx of our own (VENDORED=1)' >&2; exit 1; }
	rm -rf $(DEBIAN_TREE)
	mkdir -p build
	cp -r /usr/share/nginx/src $(DEBIAN_TREE)
	cd $(DEBIAN_TREE) && . ./conf_flags && bash ./configure "$${NGX_CONF_FLAGS[@]}" >configure.log 2>&1 || \
		{ tail -20 configure.log; exit 1; }
endif

# --- what this machine needs --------------------------------------------------------------------------------

# Each installs what its group lacks, and nothing where nothing is missing. NO_INSTALL=1 leaves the machine
# alone.
.PHONY: prerequisites-%
prerequisites-%:
	@$(if $(NO_INSTALL),true,tools/prerequisites $*)

# --- running and installing ---------------------------------------------------------------------------------

.PHONY: run
run: build prerequisites-run
	@exec demo/run

PREFIX ?= /usr
MODULES_DIR ?= $(PREFIX)/lib/nginx/modules
# For bash, zsh and fish.
COMPLETIONS = $(PREFIX)/share/bash-completion/completions/registry-authctl \
	$(PREFIX)/share/zsh/vendor-completions/_registry-authctl \
	$(PREFIX)/share/fish/vendor_completions.d/registry-authctl.fish
# Whatever a debugger wants and nginx does not is left out; STRIP=: it stays.
STRIP ?= strip --strip-unneeded
.PHONY: install
install:
	@[ -e $(OUT)/$(MODULE) ] && [ -x $(OUT)/registry-authctl ] || { echo \
		'make install: nothing is built yet: run "make" first (with the same variables, such as VENDORED=1)' \
		>&2; exit 1; }
	install -D -m 644 $(OUT)/$(MODULE) $(DESTDIR)$(MODULES_DIR)/$(MODULE)
	install -D -m 755 $(OUT)/registry-authctl $(DESTDIR)$(PREFIX)/bin/registry-authctl
	$(if $(STRIP),$(STRIP) $(DESTDIR)$(MODULES_DIR)/$(MODULE) $(DESTDIR)$(PREFIX)/bin/registry-authctl)
	$(OUT)/registry-authctl man $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/man/man5
	$(OUT)/registry-authctl man --directives >$(DESTDIR)$(PREFIX)/share/man/man5/nginx-registry-auth.5
	install -d $(dir $(addprefix $(DESTDIR),$(COMPLETIONS)))
	$(OUT)/registry-authctl completions bash >$(DESTDIR)$(word 1,$(COMPLETIONS))
	$(OUT)/registry-authctl completions zsh >$(DESTDIR)$(word 2,$(COMPLETIONS))
	$(OUT)/registry-authctl completions fish >$(DESTDIR)$(word 3,$(COMPLETIONS))
	install -d $(DESTDIR)/usr/share/nginx/modules-available $(DESTDIR)/etc/nginx/registry-auth
	echo 'load_module modules/$(MODULE);' >$(DESTDIR)/usr/share/nginx/modules-available/mod-registry-auth.conf
	install -m 644 $(wildcard nginx/*.conf) $(DESTDIR)/etc/nginx/registry-auth/
	# The administrator's from then on.
	for site in registry registry-v1; do \
		test -e $(DESTDIR)/etc/nginx/sites-available/$$site || \
			install -D -m 644 nginx/sites-available/$$site $(DESTDIR)/etc/nginx/sites-available/$$site || exit 1; \
	done

# What `install` has put there, except what is the administrator's: the sites, and what else lies beside the
# snippets, as certificates and keys. nginx has to be without the module by then, or does not start any more.
.PHONY: uninstall
uninstall:
	rm -f $(DESTDIR)$(MODULES_DIR)/$(MODULE) \
		$(DESTDIR)/usr/share/nginx/modules-available/mod-registry-auth.conf \
		$(DESTDIR)$(PREFIX)/bin/registry-authctl \
		$(DESTDIR)$(PREFIX)/share/man/man1/registry-authctl.1 \
		$(DESTDIR)$(PREFIX)/share/man/man1/registry-authctl-*.1 \
		$(DESTDIR)$(PREFIX)/share/man/man5/nginx-registry-auth.5 \
		$(addprefix $(DESTDIR),$(COMPLETIONS)) \
		$(addprefix $(DESTDIR)/etc/nginx/registry-auth/,$(notdir $(wildcard nginx/*.conf)))
	rmdir --ignore-fail-on-non-empty $(DESTDIR)/etc/nginx/registry-auth

# --- testing ------------------------------------------------------------------------------------------------

# Everything that has to hold. Each part may be run by itself.
.PHONY: test
test: lint unit build t t-vendored e2e

.PHONY: lint
lint: prerequisites-build $(TREE)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	tools/cargo-deny check --hide-inclusion-graph licenses bans sources
	misuse/check
	tools/check-docs
	tools/module-graph -q
	tools/check-words
	packaging/version >/dev/null

.PHONY: unit
unit: prerequisites-test
	$(CARGO) test --locked --workspace --exclude ngx-http-registry-auth-module

# t/ on the nginx that `build` was for; T= names some of its files.
T ?= t/
.PHONY: t
t: build prerequisites-test $(if $(VENDORED),http3)
	TEST_NGINX_MODULE=$(CURDIR)/$(OUT)/$(MODULE) TEST_AUTHCTL=$(CURDIR)/$(OUT)/registry-authctl \
	$(if $(VENDORED),TEST_NGINX_BINARY=$(CURDIR)/$(OUT)/nginx) prove -j$(JOBS) -It/lib $(T)

# Debian 12 has no client for HTTP/3; without this one the test says that it leaves that out.
.PHONY: http3
http3:
	@$(if $(NO_INSTALL),true,[ -x build/http3/bin/python ] || { $(PYTHON) -m venv build/http3 && \
		build/http3/bin/pip install --quiet aioquic==1.7.2; } || rm -rf build/http3)

.PHONY: t-vendored
t-vendored: prerequisites-test
	$(MAKE) VENDORED=1 t

# t/ on each nginx that people run, in Debians of their own: see packaging/README.md. MATRIX= names some.
.PHONY: t-matrix
t-matrix: prerequisites-e2e
	packaging/matrix --files '$(T)' --jobs $(JOBS) $(MATRIX)

.PHONY: e2e
e2e: build prerequisites-e2e
	cd e2e && $(PYTHON) -m unittest discover -v -s . -t .

# --- packages -----------------------------------------------------------------------------------------------

# Each is made in a Debian of its own, below build/: see packaging/README.md.

# The source of a release with its crates, from which all else is built without a network: build/dist/.
.PHONY: dist
dist: prerequisites-build prerequisites-debian
	packaging/dist

# Debian's packages for Debian 12 and 13, or SUITES=; lintian's remarks are errors. QUICK=1: optimised little.
SUITES ?= bookworm trixie
.PHONY: deb
deb: dist
	packaging/deb $(if $(QUICK),--quick) $(SUITES)

# Those packages installed, upgraded, removed, purged; nginx -t after each step.
.PHONY: deb-test
deb-test: prerequisites-debian
	packaging/deb-test $(SUITES)

# Two builds in two folders, which have to be equal byte for byte.
.PHONY: reproducible
reproducible: prerequisites-build $(TREE)
	packaging/reproducible

# What each program is made of, in the folder SBOM; a release's source holds it already.
SBOM ?= build/sbom
.PHONY: sbom
sbom:
	@mkdir -p $(SBOM)
	$(if $(wildcard sbom),install -m 644 $(wildcard sbom/*.json) $(SBOM)/,packaging/sbom $(SBOM))

# The container image, run by docker compose: users, pushes, pulls, a restart.
.PHONY: image-test
image-test: dist prerequisites-e2e
	packaging/image-test

# Drop-ins, charts, filters and the recipes of other distributions, as far as they can be tried in a Debian.
.PHONY: contrib-test
contrib-test: build prerequisites-e2e
	packaging/contrib-test

# The crates, the module and its C code for other machines, compiled and not linked.
TARGETS ?= aarch64-unknown-linux-gnu x86_64-unknown-linux-musl
.PHONY: check-targets
check-targets: prerequisites-build $(TREE)
	packaging/check-targets $(TARGETS)

# --- documentation ------------------------------------------------------------------------------------------

MDBOOK_VERSION := 0.5.4
MDBOOK ?= build/mdbook/bin/mdbook

build/mdbook/bin/mdbook: | prerequisites-build
	CARGO_TARGET_DIR=$(CURDIR)/target/mdbook $(CARGO) install --locked --root build/mdbook \
		--no-default-features mdbook@$(MDBOOK_VERSION)

# docs/ as a book, in build/book; each of its links is followed. MDBOOK=mdbook takes the one of the machine.
.PHONY: docs
docs: $(filter build/%,$(MDBOOK))
	tools/check-docs
	rm -rf build/book
	$(MDBOOK) build docs
	rm -f build/book/book.toml
	tools/check-docs build/book

# --- slow ones, by themselves -------------------------------------------------------------------------------

# Today's clients by themselves, docker 28 and podman 5 among them. `make e2e` runs these, too. Their system
# is made once.
.PHONY: e2e-clients
e2e-clients: build prerequisites-e2e
	cd e2e && $(PYTHON) -m harness.today && $(PYTHON) -m unittest -v test_today

# Against real V1 registries of 2014, in a system that is made first: minutes, and the network.
.PHONY: e2e-v1
e2e-v1: build prerequisites-e2e-v1
	cd e2e && $(PYTHON) -m v1.registry && $(PYTHON) -m unittest -v v1.test_real_registry

# Redis 7, Redis 8 and Valkey 8, by each kind of link, in each topology. Debian 13's servers are fetched once.
.PHONY: redis-matrix
redis-matrix: build prerequisites-e2e
	cd e2e && $(PYTHON) -m harness.redis_servers && $(PYTHON) redis_matrix.py

# A push of 2 GB and 32 pulls while the master of Redis is killed: no request may fail.
.PHONY: failover
failover: build prerequisites-e2e
	cd e2e && $(PYTHON) redis_failover.py

.PHONY: bench
bench: build prerequisites-bench
	$(PYTHON) bench/run $(BENCH_ARGS)

# From a change in Redis to its effect; workers killed; millions of requests while everything changes; a flood
# of logins; reloads, against plain nginx's.
.PHONY: latency kills soak flood reloads
latency kills soak flood reloads: build prerequisites-bench
	$(PYTHON) bench/endurance $@ $(ENDURANCE_ARGS)

# What a gigabyte costs that is pulled or pushed, beside the registry alone.
.PHONY: bench-bytes
bench-bytes: build prerequisites-bench
	$(PYTHON) bench/bytes $(BYTES_ARGS)

# What a worker takes in memory after 10,000 and 100,000 users; and that it is no more than it may.
.PHONY: memory
memory: build prerequisites-bench
	$(PYTHON) bench/memory $(MEMORY_ARGS)

# How long the event loop works at a time, whatever a registry answers and a client asks.
.PHONY: turns
turns: build prerequisites-bench
	$(PYTHON) bench/turns $(TURNS_ARGS)

# With the system's heap, the only one that memcheck knows.
.PHONY: valgrind
valgrind: prerequisites-build prerequisites-test $(TREE)
	$(CARGO) build --release --locked -p ngx-http-registry-auth-module -p registry-authctl \
		--no-default-features --features export-modules --target-dir $(TARGET)/memcheck
	TEST_NGINX_VALGRIND=1 TEST_NGINX_MODULE=$(CURDIR)/$(TARGET)/memcheck/$(SO) \
	TEST_AUTHCTL=$(CURDIR)/$(TARGET)/memcheck/release/registry-authctl \
	prove -It/lib t/credentials.t t/backends.t t/denials.t t/store.t t/cache.t t/failures.t \
	t/bearer.t t/token.t t/access_tokens.t t/token_life.t t/debug.t

FUZZ_SECONDS ?= 600
.PHONY: fuzz
fuzz: prerequisites-build
	cd fuzz && for target in route credentials password record token; do \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; done

# --- AddressSanitizer, and Miri -----------------------------------------------------------------------------

# nginx-src's nginx and the module, both instrumented; nginx gives each allocation of a pool memory of its
# own, so that the end of one is not the beginning of another. With the system's heap, which is the
# sanitizer's. A report ends the worker, which fails the test.
ASAN := $(CURDIR)/build/asan
ASAN_TREE := $(ASAN)/tree
ASAN_TARGET := $(CURDIR)/target/asan
ASAN_HOST = $(shell rustc -vV | sed -n 's/^host: //p')
ASAN_CFLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=address
ASAN_RUST = RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address -Cforce-frame-pointers=yes" \
	CFLAGS_$(subst -,_,$(ASAN_HOST))="$(ASAN_CFLAGS)"
# A process that ends by a report, not by leaks: nginx frees nothing when it ends.
ASAN_RUN := ASAN_OPTIONS=log_path=$(ASAN)/report:abort_on_error=1:disable_coredump=1:detect_leaks=0
ASAN_TESTS ?= t/
STORM_SECONDS ?= 120

$(ASAN)/nginx:
	rm -rf $(ASAN_TREE) && mkdir -p $(ASAN)
	manifest=$$($(CARGO) metadata --locked --format-version 1 --features vendored | $(PYTHON) -c \
		'import json, sys; print(*(package["manifest_path"] for package in json.load(sys.stdin)["packages"] \
		if package["name"] == "nginx-src"))') && cp -r "$${manifest%/*}/nginx" $(ASAN_TREE)
	chmod -R u+w $(ASAN_TREE)
	cd $(ASAN_TREE) && auto/configure --with-compat --with-debug --with-threads --with-http_ssl_module \
		--with-http_v2_module --with-http_v3_module --with-http_auth_request_module \
		--with-http_stub_status_module --with-http_slice_module --with-http_realip_module \
		--with-http_addition_module --with-http_sub_module --with-http_dav_module \
		--with-cc-opt='$(ASAN_CFLAGS) -DNGX_DEBUG_PALLOC=1' --with-ld-opt=-fsanitize=address \
		>configure.log 2>&1 || { tail -20 configure.log; exit 1; }
	$(MAKE) -C $(ASAN_TREE) -j$(JOBS) >$(ASAN)/make.log 2>&1 || { tail -20 $(ASAN)/make.log; exit 1; }
	install -m 755 $(ASAN_TREE)/objs/nginx $@

# A client of HTTP/2 and one of HTTP/3, which no package of Debian has.
$(ASAN)/python: bench/stormlib/requirements.txt
	mkdir -p $(ASAN)
	$(PYTHON) -m venv $@
	$@/bin/pip install --quiet --requirement $< || { rm -rf $@; exit 1; }
	touch $@

.PHONY: asan
asan: build prerequisites-test prerequisites-bench $(ASAN)/nginx $(ASAN)/python
	rm -f $(ASAN)/report.*
	$(ASAN_RUST) $(CARGO) test --locked -p registry-auth -p registry-auth-cache --lib \
		--target $(ASAN_HOST) --target-dir $(ASAN_TARGET)
	env $(ASAN_RUST) NGINX_SOURCE_DIR=$(ASAN_TREE) NGINX_BUILD_DIR=$(ASAN_TREE)/objs \
		CARGO_PROFILE_RELEASE_LTO=off \
		CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=1 \
		CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true \
		$(CARGO) build --release --locked -p ngx-http-registry-auth-module \
		--no-default-features --features export-modules \
		--target $(ASAN_HOST) --target-dir $(ASAN_TARGET)
	install -m 644 $(ASAN_TARGET)/$(ASAN_HOST)/$(SO) $(ASAN)/$(MODULE)
	$(ASAN)/python/bin/python bench/storm --seconds $(STORM_SECONDS) \
		--nginx $(ASAN)/nginx --module $(ASAN)/$(MODULE)
	$(ASAN_RUN) TEST_NGINX_BINARY=$(ASAN)/nginx TEST_NGINX_MODULE=$(ASAN)/$(MODULE) \
		TEST_AUTHCTL=$(CURDIR)/$(OUT)/registry-authctl \
		prove -j$(JOBS) -It/lib $(ASAN_TESTS)
	@! ls $(ASAN)/report.* 2>/dev/null

# The crates without any unsafe code of their own, interpreted: what they use of others' is looked at, too.
# Miri is a component of nightly toolchains only.
MIRI ?= $(CARGO) +nightly miri
.PHONY: miri
miri:
	@$(MIRI) --version >/dev/null 2>&1 || { echo 'make miri: "$(MIRI)" cannot be run: install it with' \
		'"rustup toolchain install nightly --component miri,rust-src"' >&2; exit 1; }
	MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES=8 $(MIRI) test --locked \
		-p registry-auth -p registry-auth-cache --lib --target-dir $(TARGET)/miri

.PHONY: clean
clean:
	rm -rf build target
