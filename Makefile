# A thin front of meson and ninja. `make demo` and `make test` need nothing but make and, where something is missing,
# apt (scripts/deps); everything built lies in build/.

BUILD  ?= build
PREFIX ?= /usr/local
LIBDIR ?= $(if $(filter /usr,$(PREFIX)),lib/x86_64-linux-gnu,lib)
# Installed from a build of its own, because the prefix is part of what is compiled.
INSTALL_BUILD ?= $(BUILD)/install

all: configure
	@ninja -C $(BUILD) products all-examples

demo: configure
	@ninja -C $(BUILD) demo
	@cd $(BUILD)/examples/demo && ./demo

test:
	@scripts/deps test
	@scripts/configure $(BUILD)
	@tests/run $(BUILD) $(TESTS)

# check-gcc-O0, check-asan, check-tsan, ... check-all: scripts/check says what each is.
check-%:
	@scripts/deps check
	@BUILD=$(BUILD) scripts/check $*

# Real programs (lua5.4, redis, sqlite3) patched while they are used; PROGRAMS chooses. The first run builds them.
check-real: configure
	@scripts/deps real
	@ninja -C $(BUILD) products
	@BUILD=$(BUILD) scripts/check-real $(PROGRAMS)

# For so many seconds; SEED=n makes the choices of an earlier run again.
SECONDS ?= 60
soak:
	@scripts/deps build
	@scripts/configure $(BUILD)
	@ninja -C $(BUILD) soak
	@cd $(BUILD)/tests/soak && ./soak $(SECONDS) $(SEED)

bench:
	@scripts/deps bench
	@scripts/configure $(BUILD)
	@ninja -C $(BUILD) bench
	@bench/run $(BUILD)

# The figures and charts of README.md, from all of the benchmark.
figures:
	@$(MAKE) bench QUICK= SMOKE= ONLY=
	@bench/readme $(BUILD)/bench

install:
	@scripts/deps build
	@scripts/configure $(INSTALL_BUILD) --prefix $(abspath $(PREFIX)) --libdir $(LIBDIR) \
		-Dtests=false -Dexamples=false -Dbench=false
	@ninja -C $(INSTALL_BUILD) products
	@meson install -C $(INSTALL_BUILD) --no-rebuild $(if $(DESTDIR),--destdir $(abspath $(DESTDIR)))
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi

lint:
	@scripts/deps lint
	@scripts/lint

clean:
	rm -rf $(BUILD)

configure:
	@scripts/deps build
	@scripts/configure $(BUILD)

.PHONY: all demo test check-real soak bench figures install lint clean configure
