#!/bin/sh
# Options, or nothing, start TGI; anything else is a command to run, such as `text-generation-server --help`.
#
# Stands in for /tgi-entrypoint.sh of TGI 3.3.7, which splits its arguments at blanks (tgi-entrypoint.sh:6).
set -eu
# shellcheck source=docker/hub_token.sh
. /opt/tgi-autoround/libexec/hub_token.sh

# NVIDIA's runtime mounts the driver's libraries into the container only now.
ldconfig 2>/dev/null || echo "ldconfig failed: libraries mounted into the container may not be found" >&2

case "${1:-}" in
  # Ours, first in PATH, which goes on to TGI's.
  "" | -*) exec text-generation-launcher "$@" ;;
  *) exec "$@" ;;
esac
