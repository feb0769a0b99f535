# Every recipe is one plain command that can be typed without `just`.

# All that the gate asks for.
check:
    .ci/run

fmt:
    cargo fmt --all

# What the gate asks of the format; changes nothing.
format:
    cargo fmt --all --check

clippy:
    cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

test:
    cargo test --workspace --locked

# Every operation of every workload, all images of each: an hour or so.
crash:
    GRANARY_CRASH_EVERY=1 cargo test --release -p granary-engine --features simulation --locked --test engine -- crash:: --nocapture

# Seeds of faults and power cuts, and long sequences against plain maps.
model:
    GRANARY_SEEDS=20000 PROPTEST_CASES=20000 cargo test --release -p granary-engine --features simulation --locked --test engine -- storms:: model:: --nocapture

# Schedules of the engine's own concurrency; more with GRANARY_SCHEDULES.
interleavings:
    cargo test -p granary-engine --lib --features interleavings --locked -- interleavings:: --nocapture

# Traces reach a collector; they are a feature of their own.
traces:
    cargo test --locked --features otel --test traces

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

release:
    cargo build --release --locked

# Push, pull, kill -9 and restart of the real binary.
smoke:
    cargo build --release --locked && tests/smoke.sh target/release/granary

# The real server, killed twenty times under load.
kills:
    cargo build --release --locked && GRANARY_BINARY=target/release/granary GRANARY_KILLS=20 cargo test --locked --test process kill -- --nocapture

# The real server on a full disk and on a failing one; needs the right to mount.
disk:
    cargo build --release --locked && tests/disk.sh target/release/granary

# One part of the benchmarks: commit, ingest, read, list, archive, intake, merge, copy or open.
bench name:
    cargo bench --locked --bench engine -- '^{{name}}/'

# Needs cargo-deny.
deny:
    cargo deny check bans licenses sources
