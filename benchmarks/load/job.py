"""What the generator is asked to do, and to whom."""

from dataclasses import dataclass, field

from benchmarks.load.wire import Target
from benchmarks.measure import Stopwatch


@dataclass(frozen=True)
class Paths:
    """The URLs of one server, and how many messages it sends by itself on each at first."""

    subscribe: str = "/ws/broadcast/{name}/"
    publish: str = "/ws/publish/{name}/"
    acknowledge: str = "/ws/acknowledge/{name}/"  # publishes and is sent acks
    echo: str = "/ws/echo/"
    subscriber_greetings: int = 0
    publisher_greetings: int = 0


@dataclass(frozen=True)
class Job:
    """One measurement. `kind` names the module that does it; times are in seconds."""

    kind: str
    port: int
    server: list[int]  # process ids, whose CPU time and memory are measured
    redis: list[int] = field(default_factory=list)
    redis_port: int = 0
    paths: Paths = field(default_factory=Paths)
    token: str | None = None
    connections: int = 200
    in_flight: list[int] = field(default_factory=list)
    rate: float = 0.0  # publications a second
    settle: float = 0.5  # before the first publication
    warmup: float = 0.5
    seconds: float = 3.0
    topics: int = 1
    is_echo: bool = False  # idle connections on the echo endpoint instead of topics
    more_connections: int = 0  # held on top, after what was measured
    rounds: int = 1  # how often each of the `parts` has its turn
    parts: list["Job"] = field(default_factory=list)  # one for each server, where they are several

    @property
    def target(self) -> Target:
        """Where to connect."""
        return Target(self.port, self.token)

    def start_watch(self) -> Stopwatch:
        """Measure from now on."""
        return Stopwatch(self.server, self.redis)
