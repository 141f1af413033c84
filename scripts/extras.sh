# Sourced by scripts/test --all: dependencies of the tests other than Python packages.

# need WHAT PURPOSE PACKAGE...: install Debian packages, or exit with an error that WHAT is required.
need() {
    local what="$1" purpose="$2"
    shift 2
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "scripts/test --all requires $what. Install it and run the tests again." >&2
        exit 1
    fi
    echo "Installing $what for the tests of $purpose" >&2
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2
}

command -v npm >/dev/null 2>&1 || need "Node.js and npm" "JavaScript clients" nodejs npm
# The tests use its programs only, and create their own cluster on a free port.
command -v initdb >/dev/null 2>&1 || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
    need "PostgreSQL (initdb and pg_ctl)" "keys and usage" postgresql
command -v haproxy >/dev/null 2>&1 || [ -x /usr/sbin/haproxy ] || need "HAProxy" "replicas" haproxy
command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ] || need "PgBouncer" "replicas" pgbouncer
command -v java >/dev/null 2>&1 || need "a JDK (java)" "Java's HTTP client" default-jdk-headless
command -v curl >/dev/null 2>&1 || need "curl" "curl" curl
