"""Samples in, sliding-window statistics out."""

from realtime.audience import Reading
from realtime.consumers.uploads import UploadConsumer
from realtime.core.addresses import name_sender
from realtime.held_topics import HeldTopic
from realtime.statistics import StatisticsSubscription, StatisticsView, close_view, open_view
from realtime.subscriptions import Start, Subscription


class StatsConsumer(UploadConsumer):
    """Kind `stats`."""

    _view: StatisticsView | None = None
    _reading: Reading

    async def open_topic(self, held: HeldTopic) -> None:
        user = name_sender(self.session.user_id, self.session.address)
        self._reading = Reading(self.parameters.window, self.parameters.fields, user)
        self._view = await open_view(held, self._reading, self.runtime.computing)

    def build_subscription(self, held: HeldTopic, start: Start) -> Subscription:
        assert self._view is not None
        return StatisticsSubscription(
            held,
            outbox=self.outbox,
            start=start,
            interval=self.parameters.interval,
            view=self._view,
            reading=self._reading,
        )

    def release(self) -> None:
        super().release()
        if self._view is not None:
            close_view(self._view, self._reading)
            self._view = None
