# Sourced by run, test and bench: makes and updates .venv. Needs the checkout as working
# directory. Index, proxy and certificates are whatever pip's own configuration says.

fail() {
  echo "${0##*/}: $*" >&2
  exit 1
}

can_install_packages() {
  [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null
}

install_packages() { # install_packages PACKAGE...: Debian packages, as root only
  echo "${0##*/}: installing $* with apt-get" >&2
  { DEBIAN_FRONTEND=noninteractive apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"; } \
    > /dev/null < /dev/null
}

# Prints the first Python that is new enough; the system's own comes first, since that one
# has its venv module in the package python3-venv.
find_python() {
  local candidate
  for candidate in ${BULKHEAD_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

make_venv() { # make_venv PYTHON
  if ! "$1" -c 'import ensurepip, venv' 2> /dev/null; then
    local package
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if can_install_packages; then
      install_packages "$package" || fail "could not install $package, which $1 -m venv needs"
    else
      fail "$1 cannot make virtual environments; as root: apt-get install $package"
    fi
  fi
  # A folder without its marker is a leftover of an interrupted run.
  "$1" -m venv --clear .venv
}

# prepare_venv NAME LOCK: after it, .venv holds what LOCK lists, and the project itself.
# NAME tells the stamps of different locks apart. Quick when nothing changed. Several runs
# at once wait for each other.
prepare_venv() {
  local name=$1 lock=$2 stamp=.venv/.installed-$1 wanted
  command -v flock > /dev/null || fail "flock is missing; install the package util-linux"
  mkdir -p .cache
  (
    flock 9
    if ! .venv/bin/python -c 'import pip' 2> /dev/null; then
      python=$(find_python) \
        || fail "no Python 3.11 or later found; install one, or name it in BULKHEAD_PYTHON"
      echo "${0##*/}: making .venv with $python" >&2
      make_venv "$python"
    fi
    wanted=$(.venv/bin/python - "$lock" pyproject.toml <<'PYTHON'
import hashlib, pathlib, sys

parts = [sys.version, *(pathlib.Path(name).read_text() for name in sys.argv[1:])]
print(hashlib.sha256("\0".join(parts).encode()).hexdigest())
PYTHON
    )
    if [ "$(cat "$stamp" 2> /dev/null)" != "$wanted" ]; then
      echo "${0##*/}: installing $lock into .venv" >&2
      rm -f "$stamp"
      .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
        --require-hashes --requirement "$lock" < /dev/null >&2
      .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
        --no-deps --no-build-isolation --editable . < /dev/null >&2
      echo "$wanted" > "$stamp"
    fi
  ) 9> .cache/environment.lock || exit
}
