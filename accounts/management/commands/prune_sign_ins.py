"""`manage.py prune_sign_ins`: forget the sign-ins that are over. For cron, once a day."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.db.models import Model, QuerySet
from django.utils import timezone

from accounts.models import SignIn, SpentToken

# Sessions outlive their token by a grace, and are told why they end; so the rows outlive both.
KEPT = timedelta(days=1)
# Rows in one transaction: others who write wait no longer than for those.
BATCH = 1000


class Command(BaseCommand):
    """Prints how many went."""

    help = "Delete sign-ins and spent refresh tokens whose tokens all expired over a day ago."

    def handle(self, *args: Any, **options: Any) -> None:
        """Nobody can use any of them: what has expired is refused without them."""
        before = timezone.now() - KEPT
        sign_ins = _delete(SignIn.objects.filter(expires_at__lt=before))
        spent = _delete(SpentToken.objects.filter(expires_at__lt=before))
        self.stdout.write(f"{sign_ins} sign-ins and {spent} further spent tokens deleted.")


def _delete(over: QuerySet[Any, Any]) -> int:
    """Delete them in batches, oldest first; returns how many, without those that went along."""
    model: type[Model] = over.model
    deleted = 0
    while keys := list(over.order_by("expires_at").values_list("pk", flat=True)[:BATCH]):
        _, counts = over.filter(pk__in=keys).delete()
        deleted += counts.get(model._meta.label, 0)
    return deleted
