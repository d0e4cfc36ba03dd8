"""One terminal for the processes' log lines and one progress line that stays below them."""

import sys
import threading
from typing import TextIO


class Terminal:
    """Lines from several threads, and at the bottom a progress line that is redrawn in place.

    Without a terminal (a pipe, a CI log) progress becomes plain lines, one per changed text.
    """

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._live = out.isatty()
        self._progress = ""
        self._lock = threading.RLock()

    def isatty(self) -> bool:
        """So that honcho's printer colours its prefixes."""
        return self._live

    def write(self, text: str) -> int:
        """For `print(file=…)`: whole lines only, above the progress line."""
        with self._lock:
            self._clear()
            self._out.write(text)
            if text.endswith("\n"):
                self._draw()
        return len(text)

    def flush(self) -> None:
        with self._lock:
            self._out.flush()

    def say(self, *lines: str) -> None:
        """Lines of our own."""
        self.write("".join(f"{line}\n" for line in lines))
        self.flush()

    def progress(self, text: str) -> None:
        """Replace the progress line; an empty text ends it."""
        with self._lock:
            if not self._live:
                if text and text != self._progress:
                    self._out.write(f"{text}\n")
                self._progress = text
            else:
                self._clear()
                self._progress = text
                self._draw()
            self._out.flush()

    def _clear(self) -> None:
        if self._live and self._progress:
            self._out.write("\r\033[K")

    def _draw(self) -> None:
        if self._live and self._progress:
            self._out.write(self._progress)
