#!/bin/sh
# Writes the lock files anew: versions and hashes, and no address of an index.
set -eu
cd "$(dirname "$0")/../.."

uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    # In an environment of its own: .venv holds what the lock files say, and nothing more.
    [ -x .run/lock-venv/bin/uv ] || {
        deploy/local/environment.sh requirements.lock
        .venv/bin/python -m venv .run/lock-venv
        .run/lock-venv/bin/python -m pip install --quiet --disable-pip-version-check uv
    }
    uv=.run/lock-venv/bin/uv
fi
for name in requirements requirements-exports requirements-dev requirements-image requirements-kubernetes; do
    "$uv" pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
        --python-version 3.11 "$name.in" -o "$name.lock" "$@"
done
