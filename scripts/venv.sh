# Sourced by the other scripts: creates .venv if it does not exist and installs the package into it.
# `ensure_venv EXTRAS` sets $PY, the Python to run. EXTRAS is "" or names extras of pyproject.toml, as in "test,check".
# With extras, versions are those of requirements/development.txt, so that everyone works with the same.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
VENV="${CROSSETTE_VENV:-.venv}"
PY="$VENV/bin/python"

# The newest working Python: a command on the PATH may be a shim for a version that is not installed.
find_python() {
    local version found=()
    for version in 3.14 3.13 3.12 3.11; do
        command -v "python$version" >/dev/null 2>&1 || continue
        if "python$version" -c 'import venv, ensurepip' >/dev/null 2>&1; then
            echo "python$version"
            return
        fi
        found+=("python$version (does not run, or lacks venv)")
    done
    if python3 -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
        >/dev/null 2>&1; then
        echo python3
        return
    fi
    command -v python3 >/dev/null 2>&1 && found+=("python3 ($(python3 --version 2>&1))")
    echo "crossette requires Python 3.11 to 3.14 with the venv module. Found: ${found[*]:-no Python at all}." >&2
    echo "Install it, for example with: apt-get install python3 python3-venv" >&2
    return 1
}

# Reinstall only if the list of packages or the set of extras has changed.
ensure_venv() {
    local extras="$1" python stamp expected locked=()
    if [ ! -x "$PY" ]; then
        python=$(find_python) || exit 1
        echo "Creating $VENV with $($python --version)" >&2
        "$python" -m venv "$VENV" || exit 1
    fi
    stamp="$VENV/.installed-${extras:-run}"
    [ -z "$extras" ] || locked=(--constraint requirements/development.txt)
    expected=$(cksum pyproject.toml requirements/development.txt)
    [ "$(cat "$stamp" 2>/dev/null)" = "$expected" ] && return
    echo "Installing crossette${extras:+[$extras]} into $VENV" >&2
    "$PY" -m pip install --quiet --disable-pip-version-check ${locked[@]+"${locked[@]}"} -e ".${extras:+[$extras]}" || exit 1
    echo "$expected" >"$stamp"
}
