"""Topics: the client-facing names of streams."""

import re
from dataclasses import dataclass

from realtime.core.errors import UnknownTopic

_NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,30}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Topic:
    """A stream, written `<namespace>:<name>`; the namespace sets its kind and options."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}:{self.name}"

    @property
    def group(self) -> str:
        """The channel layer group that carries the topic; Channels allows 99 characters."""
        return f"rt.{self.namespace}.{self.name}"


def is_namespace(text: str) -> bool:
    """Whether a namespace may be called that."""
    return _NAMESPACE.fullmatch(text) is not None


def build_topic(namespace: str, name: str) -> Topic:
    """Check both parts and join them; raises UnknownTopic where one is malformed."""
    if not is_namespace(namespace):
        raise UnknownTopic("a namespace is 1 to 31 of a-z, 0-9 and _, and begins with a letter")
    if _NAME.fullmatch(name) is None:
        raise UnknownTopic("a topic's name is 1 to 64 of A-Z, a-z, 0-9, '_', '.' and '-'")
    return Topic(namespace, name)


def parse_topic(text: str) -> Topic:
    """Read `<namespace>:<name>`; raises UnknownTopic."""
    namespace, colon, name = text.partition(":")
    if not colon:
        raise UnknownTopic("a topic is written <namespace>:<name>, for example broadcast:lobby")
    return build_topic(namespace, name)
