"""What the commands in scripts/ say while they work, and how they fail: with one sentence."""

import errno
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

DISK_FULL = "The disk is full: free some space and run this again, it goes on where it stopped"

_started_s = time.monotonic()


class Problem(Exception):
    """Something the user has to know or to do; its text is one sentence with the remedy."""


def say(text: str) -> None:
    print(f"[{time.monotonic() - _started_s:4.0f} s] {text}", flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    say(f"{title} ...")
    started_s = time.monotonic()
    yield
    say(f"{title}: done in {time.monotonic() - started_s:.0f} s")


def run(main: Callable[[], int]) -> None:
    """Run a command's main function and exit; a terminating signal unwinds it, so that it can clean up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit_for_signal)
    try:
        sys.exit(main())
    except Problem as problem:
        _fail(str(problem))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _fail(f"{DISK_FULL}.")
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)


def _fail(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(1)


def _exit_for_signal(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
