# shellcheck shell=sh
# Sourced by the entrypoints. The token of a docker secret becomes a variable: TGI's router reads no file of ours.
if [ -s "${HF_TOKEN_FILE:-}" ]; then
  HF_TOKEN=$(cat "$HF_TOKEN_FILE")
  export HF_TOKEN
fi
