#!/bin/sh
# Makes an environment hold exactly what a lock file says: environment.sh <lock file> [folder]
#
# Does nothing when it does already. Takes Python 3.11 or newer; on a Debian machine without the venv
# module it installs python3-venv, as root or with sudo when that asks for no password.
set -eu

lock=$1 venv=${2:-.venv}
cd "$(dirname "$0")/../.."

say() { printf '%s\n' "$*"; }
fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

mark=$venv/.holds-$(basename "$lock")
sum=$(sha256sum <"$lock")
if [ -x $venv/bin/python ] && [ "$(cat "$mark" 2>/dev/null || true)" = "$sum" ]; then
    exit 0
fi

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# All that `make run` needs and this machine lacks, so that it is told once.
missing_packages() {
    printf python3-venv
    ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || [ -n "${SIGMA_POSTGRES_URL:-}" ] || printf ' postgresql'
    ls /usr/lib/rabbitmq/bin/rabbitmq-server >/dev/null 2>&1 || command -v rabbitmq-server >/dev/null || [ -n "${SIGMA_AMQP_URL:-}" ] || printf ' rabbitmq-server'
}

find_python() {
    for python in ${PYTHON:-} python3.11 python3 python3.12 python3.13 python3.14; do
        if is_new_enough "$python"; then
            command -v "$python"
            return
        fi
    done
}

install_with_apt() {
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        return 1
    fi
    command -v apt-get >/dev/null || return 1
    say "Installing $* with apt-get"
    said=$(mktemp)
    if ! { $as_root apt-get -q update &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
            -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"; } >"$said" 2>&1; then
        tail -n 15 "$said" >&2
        rm -f "$said"
        return 1
    fi
    rm -f "$said"
}

if ! $venv/bin/python -m pip --version >/dev/null 2>&1 || ! is_new_enough $venv/bin/python; then
    python=$(find_python)
    [ -n "$python" ] || install_with_apt python3 python3-venv || true
    python=$(find_python)
    [ -n "$python" ] || fail 'Python: version 3.11 or newer is needed and was not found.' \
        'Install it (on Debian and Ubuntu: apt install python3 python3-venv), then start again.'
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        install_with_apt python3-venv && "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            fail "Python: $python cannot make virtual environments." \
                "Run: sudo apt install $(missing_packages), then start again."
    fi
    say "Making $venv with $("$python" --version)"
    "$python" -m venv --clear $venv
fi

say "Installing what $lock says (some minutes the first time)"
said=$venv/pip.log
if ! $venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes -r "$lock" >"$said" 2>&1; then
    tail -n 20 "$said" >&2
    fail '' "Dependencies: pip could not install what $lock says; its last lines stand above." \
        'Check the connection to the package index, then start again.'
fi
printf '%s\n' "$sum" >"$mark"
