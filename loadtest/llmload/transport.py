"""One kept-alive connection: bytes out, pieces of a response in, each with the time at which it arrived."""

import socket as system_socket
import ssl
import time
from functools import lru_cache
from select import POLLIN
from typing import ClassVar

from gevent import socket
from gevent.monkey import get_original
from gevent.ssl import SSLContext

from loadtest.llmload.http1 import MalformedResponse, Response, Target
from loadtest.llmload.record import ErrorKind, Transport

PIECE_BYTES = 8 * 1024
_poll = get_original("select", "poll")


class TransportError(Exception):
    """No complete response; what had arrived of it is in the exchange."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Exchange:
    """One response and the arrivals of its pieces, filled while they come in."""

    def __init__(self) -> None:
        self.response = Response()
        self.arrivals_ns: list[int] = []
        """When each piece arrived, by CLOCK_MONOTONIC."""


class Connection:
    """Not to be shared between greenlets. Stamps in userspace: for TLS, and where the kernel gives no stamps."""

    transport: ClassVar[Transport] = "userspace"

    def __init__(self, target: Target) -> None:
        self._target = target
        self._socket: socket.socket | None = None

    def exchange(self, message: bytes, exchange: Exchange) -> None:
        """Send the request and fill `exchange` until the response is complete. Raises TransportError."""
        try:
            live = self._kept_alive() or self._connect()
            self._send(live, message)
            self._receive(live, exchange)
        except MalformedResponse as error:
            self.close()
            raise TransportError(ErrorKind.PROTOCOL, str(error)) from error
        except BaseException:
            self.close()  # also when the run ends: the rest of this answer must not be read as the next one
            exchange.response.salvage()
            raise
        if not exchange.response.reusable:
            self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _kept_alive(self) -> socket.socket | None:
        """The connection of the request before; None if there is none, or the server has closed it meanwhile."""
        if self._socket is not None and _has_news(self._socket):
            self.close()
        return self._socket

    def _connect(self) -> socket.socket:
        address = (self._target.host, self._target.port)
        try:
            self._socket = socket.create_connection(address, self._target.connect_timeout_s)
            self._socket.setsockopt(system_socket.IPPROTO_TCP, system_socket.TCP_NODELAY, 1)
            self._socket = self._prepare(self._socket)
        except TimeoutError as error:
            message = f"no connection to {address[0]}:{address[1]} within {self._target.connect_timeout_s:g} s"
            raise TransportError(ErrorKind.CONNECT_TIMEOUT, message) from error
        except OSError as error:
            raise TransportError(ErrorKind.CONNECT, f"{address[0]}:{address[1]}: {error}") from error
        return self._socket

    def _prepare(self, live: socket.socket) -> socket.socket:
        return tls_context().wrap_socket(live, server_hostname=self._target.host) if self._target.secure else live

    def _send(self, live: socket.socket, message: bytes) -> None:
        live.settimeout(self._target.read_timeout_s)
        try:
            live.sendall(message)
        except TimeoutError as error:
            raise self._silence() from error
        except OSError as error:
            raise TransportError(ErrorKind.DISCONNECT, f"while the request was sent: {error}") from error

    def _receive(self, live: socket.socket, exchange: Exchange) -> None:
        while True:
            try:
                piece = live.recv(PIECE_BYTES)
            except TimeoutError as error:
                raise self._silence() from error
            except OSError as error:
                raise disconnected(exchange.response, error) from error
            if not piece:
                return end_of_stream(exchange.response)
            exchange.arrivals_ns.append(time.monotonic_ns())
            if exchange.response.take([piece]):
                return None

    def _silence(self) -> TransportError:
        return TransportError(ErrorKind.READ_TIMEOUT, f"silence for {self._target.read_timeout_s:g} s")


def _has_news(idle: socket.socket) -> bool:
    """Whether there is something to read, which on an idle connection is its end. select() ends at descriptor 1023."""
    poller = _poll()
    poller.register(idle.fileno(), POLLIN)
    return bool(poller.poll(0))


def end_of_stream(response: Response) -> None:
    """The server closed the connection: right for a body without a stated length, else a TransportError."""
    if not response.take_end():
        raise disconnected(response, None)


def disconnected(response: Response, cause: OSError | None) -> TransportError:
    received = sum(map(len, response.pieces))
    reason = f" ({cause})" if cause else ""
    return TransportError(ErrorKind.DISCONNECT, f"the connection closed after {received} bytes of the answer{reason}")


@lru_cache(maxsize=1)
def tls_context() -> SSLContext:
    """Trusts what the system trusts; a private authority is added by the environment variable SSL_CERT_FILE."""
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context
