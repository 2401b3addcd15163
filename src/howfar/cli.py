"""Entry point of the command line. It does not compute; torch is imported only when a command needs it."""

import io
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from howfar import __version__
from howfar.commands import terminal
from howfar.commands.parser import parse
from howfar.errors import HowfarError

INTERRUPTED = "interrupted. Finished steps are kept: run the same command again to continue."

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads cost up to 20× on a loaded machine
# Matplotlib would create folders in the user's home directory.
_FONTS = Path(tempfile.gettempdir()) / f"howfar-matplotlib-{getattr(os, 'getuid', int)()}"
os.environ.setdefault("MPLCONFIGDIR", str(_FONTS))


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 failed, 2 wrong usage, 3 some steps failed, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # file names may not be encodable by the terminal
            stream.reconfigure(errors="replace")
    if arguments == ["--version"]:
        terminal.out(f"howfar {__version__}")
        sys.exit(0)
    sys.exit(_guarded(arguments))


def _guarded(arguments: list[str]) -> int:
    debug = "--debug" in arguments
    terminal.show_log()
    try:
        command = parse(arguments)
        with _second_interrupt_ends(), terminal.one_line_warnings():
            return command()
    except HowfarError as error:
        if debug:
            raise
        terminal.say(f"howfar: {error}", style="red")
        return error.exit_code
    except KeyboardInterrupt:
        terminal.say(INTERRUPTED)
        return 130
    except BrokenPipeError:
        return _unread()
    except OSError as error:
        if debug:
            raise
        terminal.say(
            f"howfar: {error.filename or 'the system'} cannot be read or written ({error.strerror or error}). Choose "
            "another place, or give --debug for details.",
            style="red",
        )
        return 1


def _unread() -> int:
    """Discard remaining output: the reader of the pipe has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


@contextmanager
def _second_interrupt_ends() -> Iterator[None]:
    """Let the first Ctrl-C stop the run cleanly, and a second one end the process immediately."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            os.write(2, f"\n{INTERRUPTED}\n".encode())
            os._exit(130)
        pressed = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        if not pressed:  # else the process is about to end, and a second Ctrl-C must still be handled
            signal.signal(signal.SIGINT, before)
