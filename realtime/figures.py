"""The statistics of a topic at one offset: one summary of each window, and messages from it."""

from collections.abc import Callable, Collection, Mapping
from time import thread_time
from typing import Any

from realtime.core.messages import encode_message, format_time
from realtime.core.summaries import Figure, Samples, pick, summarise
from realtime.core.topics import Topic
from realtime.core.windows import Window
from realtime.frames import Frames, frame_text

Fields = tuple[str, ...]


class Figures:
    """What is known so far; each summary, and each message, is made once."""

    __slots__ = ("_frames", "_summaries", "_time", "_topic", "offset")

    def __init__(self, topic: Topic, *, offset: int, time: float | None) -> None:
        self.offset = offset
        self._topic = topic
        self._time = time  # of the last publication
        self._summaries: dict[Window, dict[str, Figure]] = {}
        self._frames: dict[tuple[Window, Fields, int], Frames] = {}

    def has(self, window: Window, fields: Fields) -> bool:
        """Whether these fields of a window are known."""
        summary = self._summaries.get(window)
        return summary is not None and all(name in summary for name in fields)

    def add(self, window: Window, summary: dict[str, Figure]) -> None:
        """Note what was found out about a window."""
        self._summaries[window] = summary

    def describe(self, window: Window, fields: Fields, *, skipped: int = 0) -> dict[str, Any]:
        """The `stats` message."""
        message: dict[str, Any] = {
            "type": "stats",
            "topic": str(self._topic),
            "offset": self.offset,
            "window": window.text,
            **pick(self._summaries[window], fields),
            "server_time": None if self._time is None else format_time(self._time),
        }
        if skipped:
            message["skipped"] = skipped
        return message

    def build_frames(self, window: Window, fields: Fields, *, skipped: int = 0) -> Frames:
        """The same as it goes out."""
        key = (window, fields, skipped)
        frames = self._frames.get(key)
        if frames is None:
            message = self.describe(window, fields, skipped=skipped)
            frames = self._frames[key] = frame_text(encode_message(message))
        return frames


class Study:
    """Summaries of some windows, to be made in a thread of copied samples."""

    def __init__(
        self,
        figures: Figures,
        samples: Samples,
        windows: Mapping[Window, Collection[str]],
        *,
        users: Mapping[Window, list[str]],
        is_valid: Callable[[], bool],
        scratch: Any,
    ) -> None:
        self.figures = figures
        self.is_valid = is_valid  # whether what they say still belongs to the topic
        self.users = users  # who pays for each
        self.seconds: dict[Window, float] = {}
        self._samples = samples
        self._windows = windows
        self._scratch = scratch

    def make(self) -> "Study":
        """Summarise; called in a thread."""
        for window, quantiles in self._windows.items():
            began = thread_time()
            summary = summarise(self._samples, window, quantiles, scratch=self._scratch)
            self.figures.add(window, summary)
            self.seconds[window] = thread_time() - began
        return self
