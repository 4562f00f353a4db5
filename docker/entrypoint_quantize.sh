#!/bin/sh
# `MODEL OUT [options]` quantizes; the two commands can also be given by name, with all that they can do.
set -eu
# shellcheck source=docker/hub_token.sh
. /opt/tgi-autoround/libexec/hub_token.sh

case "${1:-}" in
  "") exec tgi-autoround quantize --help ;;
  tgi-autoround | text-generation-server) exec "$@" ;;
  *) exec tgi-autoround quantize "$@" ;;
esac
