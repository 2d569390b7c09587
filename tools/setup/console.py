"""Shows the set-up's progress: live lines on a terminal, plain lines elsewhere."""

import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_HEARTBEAT_S = 30.0
_REDRAW_S = 0.1


def format_seconds(seconds: float) -> str:
    """Return a duration as people write it: `4 s`, `2:07 min`, `1:02:03 h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h"


@dataclass
class _Running:
    title: str
    started: float
    tail: str = ""
    heard: float = field(default=0.0)


class Console:
    """One line a step; safe to call from several threads."""

    def __init__(
        self,
        stream: TextIO = sys.stdout,
        *,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._live = stream.isatty() if live is None else live
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self._drawn = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> "Console":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        with self._lock:
            self._erase()
            self._stream.flush()

    def say(self, text: str = "") -> None:
        """Print a line that stays."""
        with self._lock:
            self._erase()
            self._stream.write(f"{text}\n")
            self._draw()

    def start(self, name: str, title: str) -> None:
        """Begin a step's line."""
        now = self._clock()
        with self._lock:
            self._running[name] = _Running(title, now, heard=now)
        if not self._live:
            self.say(f"  …  {name:<8} {title}")

    def tail(self, name: str, line: str) -> None:
        """Show the latest line that a step's command printed."""
        with self._lock:
            if name in self._running and line.strip():
                self._running[name].tail = line.strip()

    def end(self, name: str, mark: str, note: str = "") -> float:
        """Turn a step's line into one that stays; return its seconds."""
        with self._lock:
            running = self._running.pop(name)
        seconds = self._clock() - running.started
        extra = f"  {note}" if note else ""
        self.say(f"  {mark}  {name:<8} {running.title}  {format_seconds(seconds)}{extra}")
        return seconds

    def _tick(self) -> None:
        while not self._stop.wait(_REDRAW_S):
            with self._lock:
                if self._live:
                    self._erase()
                    self._draw()
                else:
                    self._beat()

    def _beat(self) -> None:
        now = self._clock()
        for name, running in self._running.items():
            if now - running.heard >= _HEARTBEAT_S:
                running.heard = now
                elapsed = format_seconds(now - running.started)
                self._stream.write(f"  …  {name:<8} {elapsed}  {running.tail[:100]}\n")
                self._stream.flush()

    def _erase(self) -> None:
        if self._drawn:
            self._stream.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _draw(self) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            now = self._clock()
            frame = _FRAMES[int(now * 10) % len(_FRAMES)]
            for name, running in self._running.items():
                elapsed = format_seconds(now - running.started)
                line = f"  {frame}  {name:<8} {running.title}  {elapsed}  {running.tail}"
                self._stream.write(line[:width] + "\n")
            self._drawn = len(self._running)
        self._stream.flush()
