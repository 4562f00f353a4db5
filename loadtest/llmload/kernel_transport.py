"""Arrival times from the kernel (Linux, plain HTTP): they do not depend on when this process got to read.

SO_TIMESTAMPNS has the kernel stamp every segment it receives. Where two segments lie in the socket at once it keeps
the later stamp alone: they come out as one piece, which `Record.coalesced_gaps` counts.
"""

import socket as system_socket
import struct
import sys
import time
from contextlib import suppress
from typing import ClassVar

import gevent
from gevent import socket
from gevent.event import Event

from loadtest.llmload.clock import realtime_offset_ns
from loadtest.llmload.http1 import BLANK_LINE, MalformedResponse, Target
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
    """Reads in the event loop's own greenlet: no switch between greenlets per token, only one at the end.

    What came out of the socket is left as it is until the response may have ended, or falls silent.
    """

    def __init__(self, live: socket.socket, exchange: Exchange) -> None:
        self.ended = Event()
        self.failure: Exception | None = None
        self._exchange = exchange
        self._offset_ns = realtime_offset_ns()
        self._last_ns = time.monotonic_ns()
        self._pieces: list[bytes] = []
        self._stamps: list[bytes] = []
        self._can_wait = False
        self._recvmsg = live._sock.recvmsg  # gevent's own would add a call; it does not block either
        self._watcher = gevent.get_hub().loop.io(live.fileno(), _READABLE)
        self._watcher.start(self._read)

    def stop(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        with suppress(MalformedResponse):
            self._catch_up()

    def silence_s(self) -> float:
        self._catch_up()
        return (time.monotonic_ns() - self._last_ns) / 1e9

    def _read(self) -> None:
        """Called by the event loop for every token, where nobody could catch what this raises."""
        try:
            piece, ancillary, _, _ = self._recvmsg(PIECE_BYTES, _ANCILLARY_BYTES)
            self._stamps.append(ancillary[0][2] if ancillary else _stamp_of_now())
            self._pieces.append(piece)
            if self._can_wait and piece[-4:] != BLANK_LINE and len(piece) > 4:
                return
            ended = self._look_for_end(piece)
        except BlockingIOError:
            return
        except OSError as error:
            self.failure, ended = disconnected(self._exchange.response, error), True
        except (MalformedResponse, TransportError) as error:
            self.failure, ended = error, True
        if ended:
            self._watcher.stop()
            self.ended.set()

    def _look_for_end(self, piece: bytes) -> bool:
        if piece:
            return self._catch_up()
        self._pieces.pop()
        self._stamps.pop()
        self._catch_up()
        end_of_stream(self._exchange.response)
        return True

    def _catch_up(self) -> bool:
        """Take over what is waiting; whether the response is complete. Raises MalformedResponse."""
        if not self._pieces:
            return False
        timespecs = _TIMESPEC.iter_unpack(b"".join(self._stamps))
        self._exchange.arrivals_ns += [s * 1_000_000_000 + ns - self._offset_ns for s, ns in timespecs]
        self._last_ns = self._exchange.arrivals_ns[-1]
        complete = self._exchange.response.take(self._pieces)
        self._pieces.clear()
        self._stamps.clear()
        self._can_wait = self._exchange.response.chunked
        return complete


def _stamp_of_now() -> bytes:
    """For the few pieces that arrive before the kernel has turned its stamps on, and for the stream's end."""
    return _TIMESPEC.pack(*divmod(time.time_ns(), 1_000_000_000))
