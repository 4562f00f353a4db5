#!/usr/bin/env bash
# Run while the images for Gaudi are built: patches TGI's server and installs our wheel beside it.
#
#   install_on_gaudi.sh PATCH_SET [option of apply_patches.py]
#
# TGI's Python is the system's there, with its commands in /usr/local/bin, where pip would replace them by ours. So a
# folder of our own holds package and commands, and a line in site-packages makes the package known to all of Python.
set -euo pipefail

home=/opt/tgi-autoround
patches=/build/scripts/apply_patches.py
export COLUMNS=500 PYTHONDONTWRITEBYTECODE=1

offers_auto_round() {
  local offered
  offered=$(text-generation-server serve --help)
  grep auto-round <<<"$offered"
}

install --directory "$home"
# As in the other images, because they can share a volume.
install --directory --owner 1000 --group 0 --mode 775 /data
# Asked before anything is changed: Gaudi's software, which it imports, may want a card that a build does not have.
starts=$(text-generation-server serve --help >/dev/null 2>&1 && echo yes || echo no)

python3 "$patches" apply "$@" --record "$home/patched.json"
python3 "$patches" verify "$@"
python3 -m pip install --no-cache-dir --no-index --no-deps --target "$home/lib" /build/wheels/*.whl
echo "$home/lib" >"$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tgi-autoround.pth"
python3 -c 'import tgi_autoround.tgi.hooks'
if [ "$starts" = yes ]; then
  offers_auto_round
else
  echo "TGI's own text-generation-server does not start in a build; its --help was not looked at." >&2
fi
