"""Print the address of the server to test: LOADTEST_TARGET, or whichever of our compose services is up."""

import os
import socket
import sys
import time
import urllib.error
import urllib.request

SERVICES = (
    "autoround-cpu:8080",
    "autoround-nvidia:80",
    "autoround-gaudi:80",
    "autoround-gaudi-tp8:80",
    "autoround-gaudi-legacy:80",
)
INTERVAL_S = 2

# A proxy set for downloads must not be asked for another container's address.
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def is_healthy(address: str) -> bool:
    try:
        opener.open(f"http://{address}/health", timeout=5).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def exists(address: str) -> bool:
    """Whether the name of the service is known, so that its container is there."""
    try:
        socket.getaddrinfo(address.partition(":")[0], None)
    except socket.gaierror:
        return False
    return True


def find_target(wait_s: float) -> str:
    deadline = time.monotonic() + wait_s
    while starting := [address for address in SERVICES if exists(address)]:
        for address in starting:
            if is_healthy(address):
                return f"http://{address}"
        if time.monotonic() > deadline:
            sys.exit(f"{', '.join(starting)} did not become healthy within {wait_s:g} s (LOADTEST_WAIT_S).")
        time.sleep(INTERVAL_S)
    sys.exit(
        "No server to test is up. Start one, for example with `docker compose up --detach autoround-cpu`, or name one "
        "in LOADTEST_TARGET, such as http://host:8080."
    )


sys.stdout.write(os.environ.get("LOADTEST_TARGET") or find_target(float(os.environ.get("LOADTEST_WAIT_S") or 600)))
