# Every recipe is one plain command that can be typed without `just`.

# All that the gate asks for.
check:
    .ci/run

fmt:
    cargo fmt --all

clippy:
    cargo clippy --workspace --all-targets --all-features --locked -- -D warnings

test:
    cargo test --workspace --locked

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked

# Push, pull, kill -9 and restart of the real binary.
smoke:
    cargo build --release --locked && tests/smoke.sh target/release/granary

# One file of benches/, for instance `just bench commit`.
bench name:
    cargo bench --locked --bench {{name}}

# Needs cargo-deny.
deny:
    cargo deny check bans licenses sources
