"""The claim of this process to be alive, and what becomes of the sessions of those without one.

A claim is a row with a time, which is the database's. Who wakes up after that time has lost it,
whether anybody has noticed or not: it takes a new epoch and writes its sessions anew.
"""

import os
import socket
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from realtime.models import Instance, Session
from realtime.tracking.load import Load

# Instances that one sweep deals with.
SWEEP_SIZE = 100


class Lease:
    """The row of one instance. Every method uses the database, and runs in a thread."""

    def __init__(self, *, instance_id: str, seconds: float, version: str) -> None:
        self._id = instance_id
        self._time = timedelta(seconds=seconds)
        self._version = version
        self.epoch = 0  # none taken yet

    def renew(self, load: Load) -> bool:
        """Claim to be alive for a while more; False where the claim was lost, or never taken."""
        mine = Instance.objects.filter(
            pk=self._id, epoch=self.epoch, ended_at=None, lease_until__gt=Now()
        )
        return bool(mine.update(lease_until=Now() + self._time, **asdict(load)))

    def take(self, save_rows: Callable[[int], None]) -> None:
        """Take a new epoch, and open the rows of this instance's sessions in it.

        `save_rows` writes them for an epoch. All in one transaction: whoever sees the
        instance alive sees its sessions too.
        """
        with transaction.atomic():
            # Locked: a sweep that is under way ends first, and what it closed is opened again.
            row = Instance.objects.select_for_update().filter(pk=self._id).first()
            epoch = 1 if row is None else row.epoch + 1
            claim = {"epoch": epoch, "ended_at": None, "lease_until": Now() + self._time}
            if row is None:
                Instance.objects.create(
                    pk=self._id,
                    host=socket.gethostname(),
                    pid=os.getpid(),
                    version=self._version,
                    **claim,
                )
            else:
                Instance.objects.filter(pk=self._id).update(**claim)
            save_rows(epoch)
            # Of the epochs before: sessions whose end could not be written, and was forgotten.
            Session.objects.filter(instance=self._id, closed_at=None, epoch__lt=epoch).update(
                closed_at=Now()
            )
        self.epoch = epoch

    def write(self, save_rows: Callable[[int], None]) -> bool:
        """Let `save_rows` write for the epoch of this claim.

        False where a sweep has ended the claim, or none was taken: nothing is written then, for
        nobody would close what an ended instance opens.
        """
        mine = Instance.objects.filter(pk=self._id, epoch=self.epoch, ended_at=None)
        with transaction.atomic():
            # Locked: a sweep comes before or after.
            if mine.select_for_update().first() is None:
                return False
            save_rows(self.epoch)
        return True

    def end(self) -> None:
        """Give the claim up; sessions that are still open ended with it."""
        Session.objects.filter(instance=self._id, closed_at=None).update(closed_at=Now())
        Instance.objects.filter(pk=self._id).update(lease_until=Now(), ended_at=Now())


def sweep() -> int:
    """Close the sessions of instances that lost their lease; returns of how many instances."""
    late = Instance.objects.filter(ended_at=None, lease_until__lte=Now())
    lost = list(late.values_list("pk", flat=True)[:SWEEP_SIZE])
    for pk in lost:
        with transaction.atomic():
            row = late.select_for_update().filter(pk=pk).first()
            if row is None:  # it is back, or another one was faster
                continue
            # Of that epoch and before: rows that are being opened anew are none of this.
            Session.objects.filter(instance=pk, closed_at=None, epoch__lte=row.epoch).update(
                closed_at=row.lease_until
            )
            Instance.objects.filter(pk=pk).update(ended_at=row.lease_until)
    return len(lost)
