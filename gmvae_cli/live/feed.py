"""The pipes of a feed: lines in, text out, and whatever ends it: a signal, or one of the two going away."""

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_READ_BYTES = 1 << 16  # what a pipe holds
LONGEST_LINE = 1 << 20  # bytes; what follows in the same line is dropped
_PIECE = select.PIPE_BUF  # bytes that a pipe takes as a whole or not at all
_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Stopped(BaseException):
    """The arrival of a signal that ends the feed; `number` says which."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Feed:
    """Lines from one descriptor, text to another; `opened` makes one.

    Attributes:
        unwritten: text that could not be written.
    """

    def __init__(self, source: int, target: int, wakeup: int) -> None:
        self._source, self._target, self._wakeup = source, target, wakeup
        self.signal = 0
        self.unwritten = b""
        self._to_read, self._to_write = select.poll(), select.poll()
        self._to_read.register(source, select.POLLIN)
        self._to_read.register(target, 0)  # which tells that the reader has gone
        self._to_write.register(target, select.POLLOUT)
        for poll in (self._to_read, self._to_write):
            poll.register(wakeup, select.POLLIN)

    def portions(self, seconds: float | None = None) -> Iterator[list[bytes]]:
        """Yield the lines that are complete, as they come, without their ends; and no line while none comes.

        Args:
            seconds: after which no line is yielded again; None: once, before the next ones.
        Raises:
            Stopped: a signal has come. BrokenPipeError: nobody reads any more.
        """
        rest = b""
        while True:
            if not self._wait(self._to_read, 0):
                yield []
                while not self._wait(self._to_read, seconds):
                    yield []
            try:
                data = os.read(self._source, _READ_BYTES)
            except BlockingIOError:
                continue
            *lines, rest = (rest + data).split(b"\n") if data else ([rest, b""] if rest else [b""])
            if lines:
                yield lines
            if not data:
                return
            rest = rest[: LONGEST_LINE + 1]  # which is too long, and whoever takes it says so

    def write(self, text: str) -> None:
        """Write text at once, in whole lines where it does not fit into the pipe.

        Raises:
            Stopped: a signal has come while nobody took it. BrokenPipeError: nobody reads any more.
        """
        data = self.unwritten + text.encode()
        while data:
            self.unwritten = data
            piece = data
            if len(data) > _PIECE:
                piece = data[: data.rfind(b"\n", 0, _PIECE) + 1] or data[:_PIECE]
            self._wait(self._to_write)
            try:
                data = data[os.write(self._target, piece) :]
            except BlockingIOError:
                continue
        self.unwritten = b""

    def _wait(self, poll: select.poll, seconds: float | None = None) -> bool:
        """Wait until there is something to read, or room to write; return whether there is in so many seconds."""
        events = dict(poll.poll(None if seconds is None else int(1000 * seconds)))
        if events.get(self._target, 0) & _GONE:
            raise BrokenPipeError
        if self.signal and self._target not in events:  # what can still be written is
            raise Stopped(self.signal)
        return bool(events)


@contextmanager
def opened(source: int, target: int) -> Iterator[Feed]:
    """Open a feed between two descriptors, which SIGINT and SIGTERM stop between two lines."""
    receive, send = os.pipe()
    os.set_blocking(send, False)
    feed = Feed(source, target, receive)

    def stop(number: int, frame: FrameType | None) -> None:
        feed.signal = number
        os.write(send, b"!")

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number, handler in handlers.items():
            if handler is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, stop)
        yield feed
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(receive)
        os.close(send)
