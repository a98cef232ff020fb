"""A long frame, received straight into a buffer of its own and unmasked there as it comes."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from realtime.core.entries import HEAD_ROOM, LongMessage
from realtime.server.buffers import find_unused

# It is received and unmasked in turns of so many bytes at most.
MAX_READ = 512 * 1024
Allocate = Callable[[int], NDArray[np.uint8]]
# What an announced size is worth before anything has come, in bytes: the buffer is no longer until
# this much of the frame is there. So an address space is not used up by headers alone.
FIRST_BUFFER = 512 * 1024


class LongFrame:
    """The payload of one frame whose end is still to come; sizes are in bytes.

    It is unmasked while the cache still holds it. What has not come yet takes no memory, for
    nobody has touched it.
    """

    def __init__(
        self, beginning: memoryview, *, head: int, mask: bytes, size: int, allocate: Allocate
    ) -> None:
        self.head = head  # the first byte of the frame
        self.filled = len(beginning)
        self._size = size
        self._mask = np.frombuffer(mask * 2, np.uint8)
        self._word = self._mask.view(np.uint64)
        self._unmasked = 0  # words
        self._allocate = allocate
        self._make_buffer(min(size, max(FIRST_BUFFER, len(beginning))))
        self._view[: len(beginning)] = beginning
        self._unmask()

    @property
    def free(self) -> memoryview:
        """The part of the buffer that is to be filled next."""
        return self._view[self.filled : self.filled + MAX_READ]

    @property
    def unused(self) -> int:
        """What its buffer takes of the memory besides what has come, at most."""
        return find_unused(len(self._view), self.filled)

    @property
    def is_whole(self) -> bool:
        """Whether the last byte has come."""
        return self.filled == self._size

    @property
    def payload(self) -> memoryview:
        """What the frame carries, once it is whole."""
        return self._view

    @property
    def message(self) -> LongMessage:
        """The same as a message, which takes the buffer over."""
        return LongMessage(self._buffer.data)

    def add(self, data: bytes | memoryview) -> bytes:
        """Take what came next, which may stand in the buffer already; returns what is behind."""
        taken = min(len(data), self._size - self.filled)
        if not isinstance(data, memoryview):
            if self.filled + taken > len(self._view):
                self._grow()
            self._view[self.filled : self.filled + taken] = data[:taken]
        self.filled += taken
        self._unmask()
        if self.filled == len(self._view) < self._size:
            self._grow()
        return bytes(data[taken:])

    def _make_buffer(self, size: int) -> None:
        self._buffer = self._allocate(HEAD_ROOM + size)
        self._bytes = self._buffer[HEAD_ROOM:]
        self._words = self._bytes[: size // 8 * 8].view(np.uint64)
        self._view = self._bytes.data

    def _grow(self) -> None:
        begun = self._bytes[: self.filled]
        self._make_buffer(self._size)
        self._bytes[: len(begun)] = begun

    def _unmask(self) -> None:
        whole = self.filled // 8
        words = self._words[self._unmasked : whole]
        np.bitwise_xor(words, self._word, out=words)
        self._unmasked = whole
        if self.is_whole:
            rest = self._bytes[whole * 8 :]
            np.bitwise_xor(rest, self._mask[: len(rest)], out=rest)
