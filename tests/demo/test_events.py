"""Notable changes: demo/events.py."""

from demo.events import EventDetector, Threshold


def run(threshold: Threshold, values: list[float]) -> list[int]:
    """The seconds at which the threshold turned around."""
    return [now for now, value in enumerate(values) if threshold.update(now, value)]


def observe(detector, seconds, *, cores=(10, 10), memory=50):
    """The events of these seconds, with one and the same state all the while."""
    return [event for now in seconds for event in detector.update(now, cores=cores, memory=memory)]


def test_a_threshold_turns_high_once_the_value_has_stayed_over_it_for_its_hold():
    assert run(Threshold(upper=90, lower=70, hold=3), [95] * 10) == [3]


def test_a_dip_starts_the_hold_again():
    assert run(Threshold(upper=90, lower=70, hold=3), [95, 95, 95, 89, 95, 95, 95, 95]) == [7]


def test_a_value_between_the_limits_changes_nothing_in_either_state():
    threshold = Threshold(upper=90, lower=70, hold=0)
    assert run(threshold, [80, 90, 80, 89, 71, 70, 80, 89]) == [1, 5]


def test_a_threshold_returns_to_normal_after_the_same_hold():
    threshold = Threshold(upper=90, lower=70, hold=2, high=True)
    assert run(threshold, [69, 69, 69, 69]) == [2]
    assert not threshold.high


def test_a_busy_cpu_is_told_once_and_once_more_when_it_is_over():
    detector = EventDetector()
    assert observe(detector, range(5), cores=(92, 94.24)) == []
    assert observe(detector, range(5, 20), cores=(92, 94.24)) == [
        {"kind": "cpu_high", "text": "CPU above 90 % for 5 s", "value": 93.1}
    ]
    assert observe(detector, range(20, 40), cores=(10, 20)) == [
        {"kind": "cpu_normal", "text": "CPU below 70 % for 5 s", "value": 15}
    ]


def test_memory_is_told_at_once_and_does_not_chatter_around_its_limit():
    detector = EventDetector()
    events = [
        event
        for now, memory in enumerate([80, 90, 89, 91, 86, 90, 85, 88])
        for event in detector.update(now, cores=[0], memory=memory)
    ]
    assert events == [
        {"kind": "memory_high", "text": "Memory above 90 %", "value": 90},
        {"kind": "memory_normal", "text": "Memory below 85 %", "value": 85},
    ]


def test_a_single_core_that_stays_busy_is_named():
    detector = EventDetector()
    assert observe(detector, range(60), cores=(5, 100)) == [
        {"kind": "core_high", "text": "Core 1 above 95 % for 30 s", "value": 100, "core": 1}
    ]


def test_a_quiet_machine_has_nothing_to_tell():
    assert observe(EventDetector(), range(100)) == []
