# Sourced by scripts/test --all: what the tests need beyond Python.

if ! command -v npm >/dev/null 2>&1; then
    echo "Installing Node.js and npm for the tests of JavaScript clients" >&2
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -qq && apt-get install -y -qq nodejs npm >&2
    else
        echo "scripts/test --all needs Node.js and npm: install them and run it again." >&2
        exit 1
    fi
fi

# Only its programs are used: the tests make a cluster of their own, on a free port.
if ! command -v initdb >/dev/null 2>&1 && ! compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    echo "Installing PostgreSQL for the tests of keys and usage" >&2
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >&2
    else
        echo "scripts/test --all needs PostgreSQL's initdb and pg_ctl: install them and run it again." >&2
        exit 1
    fi
fi
