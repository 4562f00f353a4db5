#!/bin/sh
# What TGI's own entrypoint does on Gaudi, for all models (backends/gaudi/tgi-entrypoint.sh:6, 3.3.7), then as on NVIDIA.
# For AutoRound models the launcher's stand-in knows the other spellings of sharding too.
set -eu
case "$*" in
  *"--sharded true"*) export PT_HPU_ENABLE_LAZY_COLLECTIVES=1 ;;
esac
exec /opt/tgi-autoround/libexec/entrypoint_tgi.sh "$@"
