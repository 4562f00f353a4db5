"""Arrival times from the kernel (Linux, plain HTTP): they do not depend on when this process got to read.

SO_TIMESTAMPNS has the kernel stamp every segment it receives. Where two segments lie in the socket at once it keeps
the later stamp alone: they come out as one piece, which `Record.coalesced_gaps` counts.
"""

import socket as system_socket
import struct
import sys
import time
from typing import ClassVar

import gevent
from gevent import socket
from gevent.event import Event

from loadtest.llmload.clock import realtime_offset_ns
from loadtest.llmload.http1 import MalformedResponse, Target
from loadtest.llmload.record import Transport
from loadtest.llmload.transport import (
    PIECE_BYTES,
    Connection,
    Exchange,
    TransportError,
    disconnected,
    end_of_stream,
)

# Python has no name for it; this is its number on every 64-bit Linux but for SPARC and PA-RISC.
SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")
_ANCILLARY_BYTES = 64
_READABLE = 1


def connection_to(target: Target) -> Connection:
    """The most exact transport that this system and the target allow."""
    return Connection(target) if target.secure or sys.platform != "linux" else KernelConnection(target)


class KernelConnection(Connection):
    transport: ClassVar[Transport] = "kernel"

    def _prepare(self, live: socket.socket) -> socket.socket:
        live.setsockopt(system_socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        return live

    def _receive(self, live: socket.socket, exchange: Exchange) -> None:
        reader = _Reader(live, exchange)
        try:
            while not reader.ended.is_set():
                patience_s = self._target.read_timeout_s - reader.silence_s()
                if patience_s <= 0:
                    raise self._silence()
                reader.ended.wait(patience_s)
        finally:
            reader.stop()
        if reader.failure is not None:
            raise reader.failure


class _Reader:
    """Reads in the event loop's own greenlet: no switch between greenlets per token, only one at the end."""

    def __init__(self, live: socket.socket, exchange: Exchange) -> None:
        self.ended = Event()
        self.failure: Exception | None = None
        self._exchange = exchange
        self._offset_ns = realtime_offset_ns()
        self._last_ns = time.monotonic_ns()
        live.settimeout(0.0)
        self._recvmsg = live.recvmsg
        self._watcher = gevent.get_hub().loop.io(live.fileno(), _READABLE)
        self._watcher.start(self._read)

    def stop(self) -> None:
        self._watcher.stop()
        self._watcher.close()

    def silence_s(self) -> float:
        return (time.monotonic_ns() - self._last_ns) / 1e9

    def _read(self) -> None:
        """Called by the event loop, where nobody could catch what this raises."""
        try:
            piece, ancillary, _, _ = self._recvmsg(PIECE_BYTES, _ANCILLARY_BYTES)
            if piece:
                ended = self._keep(piece, ancillary)
            else:
                end_of_stream(self._exchange.response)
                ended = True
        except BlockingIOError:
            return
        except OSError as error:
            self.failure, ended = disconnected(self._exchange.response, error), True
        except (MalformedResponse, TransportError) as error:
            self.failure, ended = error, True
        if ended:
            self._watcher.stop()
            self.ended.set()

    def _keep(self, piece: bytes, ancillary: list[tuple[int, int, bytes]]) -> bool:
        if ancillary:
            seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
            self._last_ns = seconds * 1_000_000_000 + nanoseconds - self._offset_ns
        else:
            self._last_ns = time.monotonic_ns()
        self._exchange.arrivals_ns.append(self._last_ns)
        return self._exchange.response.take(piece)
