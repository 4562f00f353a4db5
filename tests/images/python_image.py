"""The image that ours are built on here: Python, and a pip that reaches what pip on this machine reaches.

The published image where a registry answers, else Debian's Python, put together by debootstrap from apt's own mirror.
Settings of this machine (certificates, package index) go into the image made here and nowhere else.
"""

import ast
import ipaddress
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.images.docker_cli import docker, has_image, run_docker

TAG = "tgi-autoround-tests/python:3.11"
PUBLISHED = "python:3.11-slim"
DEBIAN = "bookworm"
DEBIAN_PACKAGES = "ca-certificates,curl,python-is-python3,python3,python3-pip,python3-venv"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "timeout")
DOCKERFILE = f"""\
ARG BASE
FROM ${{BASE}}
COPY certificates.crt {CERTIFICATES}
COPY pip.conf /etc/pip.conf
"""


def python_image() -> str:
    """Tag of the image, made the first time."""
    if has_image(TAG):
        return TAG
    if run_docker("pull", PUBLISHED, limit_s=300).returncode == 0:
        _add_settings_of_this_machine(PUBLISHED)
        return TAG
    debian = f"{TAG}-{DEBIAN}"
    _import_debian(debian)
    _add_settings_of_this_machine(debian)
    return TAG


def gateway() -> str:
    """This machine's address as containers and builds see it: the first of the default network."""
    # Asked for the subnet, because dockerd 20.10 names the gateway only from its second start on.
    subnet = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}").strip()
    return str(next(ipaddress.ip_network(subnet).hosts()))


def _import_debian(tag: str) -> None:
    assert os.geteuid() == 0, f"{PUBLISHED} cannot be pulled, and debootstrap, which could replace it, needs root"
    assert shutil.which("debootstrap"), f"{PUBLISHED} cannot be pulled: install debootstrap to make one like it"
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={DEBIAN_PACKAGES}", DEBIAN, str(root), _mirror()]
        made = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
        archive = Path(scratch) / "root.tar"
        left_out = [f"--exclude=./{folder}/*" for folder in ("var/cache/apt", "var/lib/apt/lists", "dev", "proc")]
        subprocess.run(["tar", "-C", str(root), *left_out, "-cf", str(archive), "."], check=True)
        docker("import", str(archive), tag, limit_s=300)


def _mirror() -> str:
    """Where apt of this machine gets Debian from."""
    query = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Component: main"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]


def _add_settings_of_this_machine(base: str) -> None:
    with tempfile.TemporaryDirectory() as context:
        Path(context, "Dockerfile").write_text(DOCKERFILE, encoding="utf-8")
        Path(context, "pip.conf").write_text(_pip_conf(), encoding="utf-8")
        shutil.copy(os.environ.get("SSL_CERT_FILE", CERTIFICATES), Path(context, "certificates.crt"))
        docker("buildx", "build", "--load", "--build-arg", f"BASE={base}", "--tag", TAG, context, limit_s=300)


def _pip_conf() -> str:
    settings = {"cert": CERTIFICATES, "disable-pip-version-check": "1"}
    for line in _pip_settings_here():
        name, _, value = line.partition("=")
        name = name.rpartition(".")[2]
        # Folders of this machine are not in the image.
        urls = [part for part in str(ast.literal_eval(value)).split() if not part.startswith("file:")]
        if name in PIP_SETTINGS and urls:
            settings[name] = " ".join(urls)
    settings["trusted-host"] = f"{settings.get('trusted-host', '')} {gateway()}".strip()
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


def _pip_settings_here() -> list[str]:
    listing = [sys.executable, "-m", "pip", "config", "list"]
    return subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines()
