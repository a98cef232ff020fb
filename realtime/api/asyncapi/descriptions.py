"""What can be said about a message besides its schema."""

from dataclasses import dataclass
from typing import Any

from msgspec import Struct


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A message of structure `type`, and what its `fields` mean; `examples` are by title.

    `kinds` are the kinds of topics that have the message, where not all do.
    """

    type: type[Struct]
    title: str
    summary: str
    fields: dict[str, str]
    examples: dict[str, dict[str, Any]]
    details: str = ""
    kinds: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The key of the message and of its schema in the document."""
        return self.type.__name__

    @property
    def tag(self) -> str:
        """The `type` that the message has on the wire."""
        return str(self.type.__struct_config__.tag)


# Fields that mean the same in several messages.
TYPE = "Which message this is."
TOPIC = "The topic, written `namespace:name`."
SERVER_TIME = "When the server said or accepted this: RFC 3339, UTC, with six decimals and a `Z`."
USER = "The username; null for an anonymous session, or for the server's own code."
OFFSET = "The place in the topic: 1, 2, 3, … within an epoch; null on a topic without history."
SKIPPED = (
    "So many publications before this one were left out on purpose; absent where none was. "
    "They are no loss."
)
ASKED = "Your choice: a string of up to 64 characters, or a whole number. The answer carries it."
ANSWERED = "The `ref` of the message that this answers; null if it had none."
