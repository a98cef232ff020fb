"""Reading the machine: demo/host.py."""

from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from demo.host import CoreHistory, Sample, Sampler, mean_cores


def sample(*cores: float) -> Sample:
    return Sample(cores=cores, load=0, memory=0, network=0, disk=0)


@pytest.fixture
def counters(monkeypatch):
    """psutil's network and disk counters, which the test moves."""
    network = SimpleNamespace(bytes_sent=100, bytes_recv=1000)
    disk = SimpleNamespace(read_bytes=50, write_bytes=500)
    monkeypatch.setattr(psutil, "net_io_counters", lambda: network)
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: disk)
    return SimpleNamespace(network=network, disk=disk)


def test_rates_are_bytes_a_second_of_both_directions(counters):
    times = iter([10.0, 10.5])
    sampler = Sampler(clock=lambda: next(times))
    counters.network.bytes_sent += 10
    counters.network.bytes_recv += 20
    counters.disk.read_bytes += 4
    counters.disk.write_bytes += 1
    taken = sampler.read()
    assert taken.network == 60
    assert taken.disk == 10


def test_each_rate_starts_where_the_one_before_it_ended(counters):
    times = iter([0.0, 1.0, 2.0])
    sampler = Sampler(clock=lambda: next(times))
    counters.network.bytes_recv += 500
    assert [sampler.read().network, sampler.read().network] == [500, 0]


def test_a_counter_that_starts_again_gives_zero_and_not_a_negative_rate(counters):
    times = iter([0.0, 1.0])
    sampler = Sampler(clock=lambda: next(times))
    counters.network.bytes_recv = 0
    assert sampler.read().network == 0


def test_no_time_between_two_reads_gives_zero(counters):
    sampler = Sampler(clock=lambda: 7.0)
    counters.disk.read_bytes += 5
    assert sampler.read().disk == 0


def test_a_machine_without_network_or_disks_has_rates_of_zero(monkeypatch):
    monkeypatch.setattr(psutil, "net_io_counters", lambda: None)
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: None)
    taken = Sampler().read()
    assert (taken.network, taken.disk) == (0, 0)


def test_cpu_is_primed_before_the_first_sample(monkeypatch):
    answers = iter([[0.0, 0.0], [10.0, 30.0]])  # psutil's first answer means nothing
    monkeypatch.setattr(psutil, "cpu_percent", lambda percpu: next(answers))
    taken = Sampler().read()
    assert taken.cores == (10, 30)
    assert taken.cpu == 20


def test_a_real_machine_can_be_read():
    taken = Sampler().read()
    assert len(taken.cores) == psutil.cpu_count()
    assert 0 < taken.memory < 100


def test_the_mean_of_each_core_is_taken_over_the_samples():
    assert mean_cores([sample(0, 100), sample(50, 0)]) == (25, 50)


def test_samples_of_another_number_of_cores_are_left_out_of_the_mean():
    assert mean_cores([sample(90, 90, 90), sample(10, 20)]) == (10, 20)


def test_history_is_float32_with_the_newest_column_last_and_zeros_before_it():
    history = CoreHistory(columns=4)
    history.append((1, 2))
    history.append((3, 4))
    array = history.snapshot()
    assert array.dtype == np.float32
    assert array.tolist() == [[0, 0, 1, 3], [0, 0, 2, 4]]


def test_history_forgets_what_is_older_than_its_columns():
    history = CoreHistory(columns=3)
    for value in range(5):
        history.append((value,))
    assert history.snapshot().tolist() == [[2, 3, 4]]


@pytest.mark.parametrize(("seconds", "row"), [(2, [8, 9, 9]), (3, [9, 9, 9]), (1000, [9, 9, 9])])
def test_a_late_append_fills_the_columns_of_all_its_seconds(seconds, row):
    history = CoreHistory(columns=3)
    history.append((8,))
    history.append((9,), seconds=seconds)
    assert history.snapshot().tolist() == [row]


def test_history_starts_anew_when_the_number_of_cores_changes():
    history = CoreHistory(columns=2)
    history.append((5, 5))
    history.append((1, 2, 3))
    assert history.snapshot().tolist() == [[0, 1], [0, 2], [0, 3]]


def test_a_snapshot_does_not_change_with_later_columns():
    history = CoreHistory(columns=2)
    history.append((5,))
    array = history.snapshot()
    history.append((6,))
    assert array.tolist() == [[0, 5]]
