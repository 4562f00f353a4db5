"""The port, taken before the long work of loading a model."""

import errno
import ipaddress
import logging
import socket

from tgi_autoround.errors import ConfigError

logger = logging.getLogger(__name__)

ANY_ADDRESS = "0.0.0.0"


def bind(hostname: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet. Raises ConfigError where the port cannot be had."""
    address = hostname if _is_ip_address(hostname) else ANY_ADDRESS
    if address != hostname:
        logger.warning("Invalid hostname %s, defaulting to %s", hostname, ANY_ADDRESS)
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except (OSError, OverflowError) as error:
        listener.close()
        is_taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "is taken by another program" if is_taken else f"cannot be used: {error}"
        raise ConfigError(f"port {port} of {address} {reason}; choose another with --port") from error
    return listener


def _is_ip_address(hostname: str) -> bool:
    try:
        ipaddress.ip_address(hostname)
    except ValueError:
        return False
    return True
