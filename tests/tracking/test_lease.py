"""The claim of an instance: renewed, lost, taken anew; and what a sweep makes of the lost ones."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from realtime.models import Instance, Session
from realtime.tracking.lease import Lease, sweep
from realtime.tracking.load import Load
from realtime.tracking.rows import save_rows
from tests.sessions import StubSession

pytestmark = pytest.mark.django_db

LOAD = Load(
    session_count=3, cpu=0.5, memory=1000, loop_delay=0.01, messages_in_rate=2, messages_out_rate=4
)


class Process:
    """One instance with its sessions."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lease = Lease(instance_id=name, seconds=15, version="1.0")
        self.sessions = [StubSession().session for _ in range(2)]

    def take(self) -> None:
        self.lease.take(lambda epoch: save_rows(self.sessions, instance_id=self.name, epoch=epoch))

    def sleep(self) -> None:
        """Its lease runs out."""
        Instance.objects.filter(pk=self.name).update(lease_until=Now() - timedelta(seconds=1))

    @property
    def row(self) -> Instance:
        return Instance.objects.get(pk=self.name)


@pytest.fixture
def process() -> Process:
    process = Process("a")
    process.take()
    return process


def test_the_first_claim_makes_the_row(process: Process) -> None:
    row = process.row
    assert (row.epoch, row.version, row.ended_at, process.lease.epoch) == (1, "1.0", None, 1)
    assert Session.objects.live().count() == 2


def test_without_a_claim_there_is_nothing_to_renew() -> None:
    assert not Process("new").lease.renew(LOAD)


def test_a_renewal_is_one_write_and_says_how_busy_the_instance_is(
    process: Process, django_assert_num_queries: object
) -> None:
    before = process.row.lease_until
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert process.lease.renew(LOAD)
    row = process.row
    assert row.lease_until > before
    assert (row.session_count, row.cpu, row.memory) == (3, 0.5, 1000)
    assert (row.loop_delay, row.messages_in_rate, row.messages_out_rate) == (0.01, 2, 4)


@pytest.mark.parametrize("was_swept", [False, True])
def test_who_slept_past_its_lease_takes_a_new_epoch_and_its_sessions_are_live_again(
    process: Process, *, was_swept: bool
) -> None:
    process.sleep()
    assert Session.objects.live().count() == 0
    if was_swept:
        assert sweep() == 1
        assert Session.objects.filter(closed_at=None).count() == 0
    assert not process.lease.renew(LOAD)
    del process.sessions[1:]  # one of them has ended meanwhile
    process.take()
    assert (process.row.epoch, process.row.ended_at) == (2, None)
    live = Session.objects.live()
    assert [str(row.pk) for row in live if row.epoch == 2] == [process.sessions[0].id]
    assert process.lease.renew(LOAD)


def test_taking_a_new_epoch_closes_what_was_forgotten_in_the_old_one(process: Process) -> None:
    process.sleep()
    del process.sessions[1:]  # its end could not be written, and more came than is remembered
    process.take()
    assert [str(row.pk) for row in Session.objects.filter(closed_at=None)] == [
        process.sessions[0].id
    ]


def test_nothing_is_written_for_a_claim_that_a_sweep_has_ended(process: Process) -> None:
    def write() -> bool:
        return process.lease.write(
            lambda epoch: save_rows(process.sessions, instance_id="a", epoch=epoch)
        )

    process.sleep()
    assert write()  # nobody has noticed, and who does closes this too
    sweep()
    assert not write()
    assert Session.objects.filter(closed_at=None).count() == 0
    process.take()
    assert write()
    assert Session.objects.live().count() == 2


def test_a_lease_that_somebody_else_took_over_is_not_renewed(process: Process) -> None:
    Instance.objects.filter(pk="a").update(epoch=2)
    assert not process.lease.renew(LOAD)


def test_a_sweep_closes_the_sessions_of_the_dead_and_of_nobody_else(process: Process) -> None:
    other = Process("b")
    other.take()
    assert sweep() == 0
    process.sleep()
    died = process.row.lease_until
    assert sweep() == 1
    closed = Session.objects.filter(instance="a")
    assert {row.closed_at for row in closed} == {died}
    assert {row.close_code for row in closed} == {None}
    assert process.row.ended_at == died
    assert Session.objects.live().filter(instance="b").count() == 2
    assert sweep() == 0


def test_a_sweep_leaves_rows_of_a_later_epoch_alone(process: Process) -> None:
    # As on a database where a sweep reads the instance before, and the sessions after, they
    # were taken anew.
    process.sleep()
    Session.objects.filter(instance="a").update(epoch=2)
    assert sweep() == 1
    assert Session.objects.filter(closed_at=None).count() == 2


def test_a_sweep_with_nothing_to_do_writes_nothing(
    process: Process, django_assert_num_queries: object
) -> None:
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert sweep() == 0


def test_the_end_closes_what_is_still_open(process: Process) -> None:
    process.lease.end()
    assert Session.objects.filter(closed_at=None).count() == 0
    assert process.row.ended_at is not None
    assert sweep() == 0
