#!/usr/bin/env bash
# Runs cargo-deny, building it once into build/tools where the machine has none.
set -eu
cd "$(dirname "$0")/.."
tool=$(command -v cargo-deny || true)
if [ -z "$tool" ]; then
    tool=$PWD/build/tools/bin/cargo-deny
    if [ ! -x "$tool" ]; then
        echo "building cargo-deny, once" >&2
        # Unoptimised: it runs for seconds, and optimising it takes minutes.
        CARGO_TARGET_DIR=$PWD/build/tools/target CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
            CARGO_PROFILE_RELEASE_DEBUG=0 cargo install --quiet --locked --root "$PWD/build/tools" --version 0.20.2 cargo-deny
        rm -rf "$PWD/build/tools/target"
    fi
fi
exec "$tool" "$@"
