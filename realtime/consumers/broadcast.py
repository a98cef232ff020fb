"""JSON publications to everybody who subscribed."""

from realtime.consumers.topic import TopicConsumer


class BroadcastConsumer(TopicConsumer):
    """Kind `broadcast`: what all topics share is all it needs."""
