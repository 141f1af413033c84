# Sourced by other scripts.

# need WHAT PURPOSE PACKAGE...: install Debian packages, or exit with an error that WHAT is required.
need() {
    local what="$1" purpose="$2"
    shift 2
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "$0 requires $what for $purpose. Install it and run it again." >&2
        exit 1
    fi
    echo "Installing $what for $purpose" >&2
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2
}
