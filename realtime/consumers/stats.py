"""Samples in, sliding-window statistics out."""

from realtime.consumers.uploads import UploadConsumer
from realtime.held_topics import HeldTopic
from realtime.statistics import StatisticsSubscription, StatisticsView, close_view, open_view
from realtime.subscriptions import Start, Subscription


class StatsConsumer(UploadConsumer):
    """Kind `stats`."""

    _view: StatisticsView | None = None

    async def open_topic(self, held: HeldTopic) -> None:
        self._view = await open_view(held, self.parameters.window)

    def build_subscription(self, held: HeldTopic, start: Start) -> Subscription:
        assert self._view is not None
        return StatisticsSubscription(
            held,
            outbox=self.outbox,
            start=start,
            interval=self.parameters.interval,
            view=self._view,
            window=self.parameters.window,
            fields=self.parameters.fields,
        )

    def release(self) -> None:
        if self._view is not None:
            close_view(self._view, self.parameters.window)
            self._view = None
        super().release()
