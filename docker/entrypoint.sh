#!/bin/sh
# Options, or nothing, start the server; anything else is a command to run, such as `tgi-autoround quantize ...`.
set -eu
# shellcheck source=docker/hub_token.sh
. /opt/tgi-autoround/libexec/hub_token.sh

case "${1:-}" in
  # The hostname is given because docker sets HOSTNAME, which would be taken as the address to listen on.
  "" | -*) exec tgi-autoround serve --hostname 0.0.0.0 "$@" ;;
  *) exec "$@" ;;
esac
