# make demo        the whole path on real servers, in front of your eyes
# make test        every test
# make ci          what CI runs: format, lints, tests; the last line counts
# make lint        format and lints
# make bench       copy speed beside mbsync on the same servers (release build)
# make acceptance  the long runs: 10,000 messages of 700 MB, 50 kills (release build)

.PHONY: demo test ci lint bench acceptance packages-demo packages-test packages-bench
.NOTPARALLEL:

demo: packages-demo
	cargo build --locked -p mailferry-cli -p mailferry-tests --bins
	cargo run --locked -q -p mailferry-tests --bin mailferry-demo

test: packages-test
	cargo build --locked -p mailferry-cli
	cargo test --workspace --locked

ci:
	@scripts/ci

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

bench: packages-bench
	cargo build --release --locked -p mailferry-cli -p mailferry-benches --bins
	cargo run --release --locked -q -p mailferry-benches --bin mailferry-bench

acceptance: packages-test
	cargo build --release --locked -p mailferry-cli
	MAILFERRY_TEST_FULL=1 MAILFERRY_TEST_KILLS=50 cargo test --release --locked -p mailferry-tests -- --nocapture --test-threads=1

packages-demo packages-test packages-bench: packages-%:
	@scripts/packages $*
