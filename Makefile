# make demo        the whole path on real servers, in front of your eyes
# make test        every test
# make ci          what CI runs: format, lints, tests; the last line counts
# make lint        format and lints
# make bench       both benches (release build):
# make bench-sync  the copy beside mbsync and a bare pump, on the same servers
# make bench-proxy the proxy beside haproxy, Dovecot's proxy and nginx before the same source
# make bench-big   a mailbox of 600,000 messages: time, memory and commands of each kind of pass (half an hour)
# make fuzz        each fuzz target for FUZZ_TIME seconds (600), or only FUZZ_TARGETS; needs `cargo install cargo-fuzz`
# make acceptance  the long runs: 10,000 messages of 700 MB, 50 kills, 5,000 silent connections (release build)

.PHONY: demo test ci lint bench bench-sync bench-proxy bench-big fuzz acceptance packages-demo packages-test packages-bench
.NOTPARALLEL:

# One selection of packages for every goal: another one would build dependencies again with other features.
TARGET := $(or $(CARGO_TARGET_DIR),target)

demo: packages-demo
	cargo build --workspace --bins --locked
	$(TARGET)/debug/mailferry-demo

test: packages-test
	cargo build --workspace --all-targets --locked
	cargo test --workspace --locked

ci:
	@scripts/ci

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench: bench-sync bench-proxy

bench-sync: packages-bench
	cargo build --release --workspace --bins --locked
	$(TARGET)/release/mailferry-bench-sync

bench-proxy: packages-bench
	cargo build --release --workspace --bins --locked
	$(TARGET)/release/mailferry-bench-proxy

bench-big: packages-bench
	cargo build --release --workspace --bins --locked
	$(TARGET)/release/mailferry-bench-big

# On the stable compiler: without a sanitizer, which would watch unsafe code, and there is none.
FUZZ_TIME ?= 600
FUZZ_TARGETS ?= framer tap login filter parse header id
FUZZ_LIMITS := -max_len=4096 -rss_limit_mb=512 -malloc_limit_mb=64 -timeout=10

fuzz:
	for target in $(FUZZ_TARGETS); do \
		cargo fuzz run --fuzz-dir fuzz -s none $$target -- $(FUZZ_LIMITS) -max_total_time=$(FUZZ_TIME) || exit 1; \
	done

acceptance: packages-test
	cargo build --release --workspace --bins --locked
	cargo build --workspace --all-targets --locked
	MAILFERRY_BIN=$(abspath $(TARGET))/release/mailferry MAILFERRY_TEST_FULL=1 MAILFERRY_TEST_KILLS=50 \
		cargo test --workspace --locked --test copy --test crash --test limits --test live --test outage --test attacks -- \
		--nocapture --test-threads=1

packages-demo packages-test packages-bench: packages-%:
	@scripts/packages $*
