# Sourced by scripts/test --all: what the tests need beyond Python.

# need WHAT FOR PACKAGE...: install Debian packages, or say that WHAT is needed.
need() {
    local what="$1" purpose="$2"
    shift 2
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "scripts/test --all needs $what: install it and run it again." >&2
        exit 1
    fi
    echo "Installing $what for the tests of $purpose" >&2
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2
}

command -v npm >/dev/null 2>&1 || need "Node.js and npm" "JavaScript clients" nodejs npm
# Only its programs are used: the tests make a cluster of their own, on a free port.
command -v initdb >/dev/null 2>&1 || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
    need "PostgreSQL (initdb and pg_ctl)" "keys and usage" postgresql
command -v java >/dev/null 2>&1 || need "a JDK (java)" "Java's HTTP client" default-jdk-headless
command -v curl >/dev/null 2>&1 || need "curl" "curl" curl
