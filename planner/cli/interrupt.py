"""Ctrl-C while a solver runs: its C++ code takes or delays the signal, so a thread of our own waits for it.

SIGINT is blocked for every thread and handed to the waiting one, which interrupts Python; a solver that does not
come back to Python within the grace period is left behind with the process.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time

from planner.cli.output import EXIT_INTERRUPTED, INTERRUPTED, say_error

GRACE_S = 0.4
"""Time for Python to end by itself: to remove a temporary file, for instance."""


def watch_interrupts() -> None:
    """Starts the waiting thread; does nothing where SIGINT is ignored, as in background jobs, or cannot be blocked."""
    if not hasattr(signal, "pthread_sigmask") or signal.getsignal(signal.SIGINT) != signal.default_int_handler:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    threading.Thread(target=_wait, daemon=True, name="interrupts").start()


def _wait() -> None:
    signal.sigwait({signal.SIGINT})
    _thread.interrupt_main()
    time.sleep(GRACE_S)
    say_error(f"\n{INTERRUPTED}")  # a line below the terminal's ^C, as click does
    os._exit(EXIT_INTERRUPTED)
