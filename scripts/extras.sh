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
