#!/bin/sh
# Removes .run (the demo's data, keys and logs) and what the tools of `make check` and `make test` left.
set -eu
cd "$(dirname "$0")/../.."

if [ -e .run/lock ] && ! flock --nonblock .run/lock true; then
    echo 'make run is running: end it with Ctrl-C first.' >&2
    exit 1
fi
# A server whose user cannot reach this folder keeps its data elsewhere, and a note of it here.
for note in .run/*/data-is-in; do
    [ -e "$note" ] && rm -rf "$(cat "$note")"
done
rm -rf .run .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .schemathesis
find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
