# shellcheck shell=bash
# Finds a Python that requirements.lock was made for. Sourced by the commands in scripts/.

# A candidate is run, not only looked up: version managers leave names on PATH that only print an error.
is_supported_python() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.11 python3.12 python3.13; do
    if is_supported_python "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  echo "Python 3.11, 3.12 or 3.13 is needed and none was found:" \
    "install it (Debian, Ubuntu: apt-get install python3 python3-venv) or name one in the variable PYTHON." >&2
  return 1
}
