# Sourced by scripts/test --all: dependencies of the tests other than Python packages.

source scripts/need.sh

command -v npm >/dev/null 2>&1 || need "Node.js and npm" "tests of JavaScript clients" nodejs npm
# The tests use its programs only, and create their own cluster on a free port.
command -v initdb >/dev/null 2>&1 || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
    need "PostgreSQL (initdb and pg_ctl)" "tests of keys and usage" postgresql
command -v haproxy >/dev/null 2>&1 || [ -x /usr/sbin/haproxy ] || need "HAProxy" "tests of replicas" haproxy
command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ] || need "PgBouncer" "tests of replicas" pgbouncer
command -v java >/dev/null 2>&1 || need "a JDK (java)" "tests of Java's HTTP client" default-jdk-headless
command -v g++ >/dev/null 2>&1 || need "g++" "tests of the kernels" g++
command -v curl >/dev/null 2>&1 || need "curl" "tests of curl" curl
command -v systemd-analyze >/dev/null 2>&1 || need "systemd (systemd-analyze)" "tests of the systemd unit" systemd
# Playwright drives the system's browser: none is downloaded.
command -v chromium >/dev/null 2>&1 || need "Chromium" "tests of the pages" chromium fonts-dejavu-core
# Ray has an environment of its own, and its tests a network.
command -v ip >/dev/null 2>&1 || [ -x /usr/sbin/ip ] || need "ip" "tests of Ray Serve" iproute2
PYTHONPATH=tests "$PY" -m support.ray_environment
