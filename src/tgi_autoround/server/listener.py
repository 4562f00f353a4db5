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
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # asyncio switches Nagle's delay off, which costs a stream's first token 40 ms, only where the protocol is given:
    # asyncio/base_events.py, _set_nodelay, Python 3.11.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
