#!/bin/sh
# Nothing, or Locust's options: the web page on 8089. A scenario's name or file: that load test, with Locust's options.
# report, gate, compare, abab, saturate, scenarios: `python -m loadtest`. Anything else is a command to run.
set -eu
cd /opt/loadtest

target() {
  python /opt/loadtest/libexec/loadtest_target.py
}

run_locust() {
  host=$(target)
  exec locust --locustfile loadtest/locustfile.py --host "$host" "$@"
}

case "${1:-}" in
  "" | -*) run_locust --out /results/web "$@" ;;
  scenarios | report | gate | compare | abab | saturate) exec python -m loadtest "$@" ;;
  saturation)
    shift
    host=$(target)
    exec python -m loadtest saturate --host "$host" --out "/results/saturation-$(date +%Y%m%d-%H%M%S)" "$@"
    ;;
  *)
    if [ -f "loadtest/scenarios/$1.yaml" ] || [ "${1%.yaml}" != "$1" ]; then
      scenario=$1
      shift
      run_locust --headless --scenario "$scenario" --out "/results/$(basename "$scenario" .yaml)" "$@"
    fi
    exec "$@"
    ;;
esac
