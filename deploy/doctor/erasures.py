"""Erasures and the month that the law gives them (GDPR art. 12(3))."""

from collections.abc import Iterable

from sqlalchemy import select

from deploy.doctor.checks import of_suite
from deploy.doctor.findings import Finding, failed, ok, warning
from deploy.doctor.site import Site
from services.privacy.models import Answer, Case
from shared.db import utc_now
from shared.privacy.retention import tenant_ids

# Half of the month has gone: alerts begin here as well.
NEAR_DAYS = 16


@of_suite("erasures")
async def check_erasures(site: Site) -> list[Finding]:
    """No open case is past its legal limit, or near it. A hold does not stop the clock."""
    found: list[Finding] = []
    today = utc_now().date()
    for tenant_id in await tenant_ids(await site.database("privacy")):
        async with site.session("privacy", tenant_id) as session:
            cases = (await session.scalars(select(Case).where(Case.completed_at.is_(None)))).all()
            answers = (await session.scalars(select(Answer).where(Answer.outcome.is_(None)))).all() if cases else []
        for case in cases:
            days, waiting = (case.due_on - today).days, _awaited(case, answers) or ["–"]
            if days < 0:
                found.append(failed("overdue", case=str(case.id), due=str(case.due_on), days=-days, waiting=waiting))
            elif days < NEAR_DAYS:
                found.append(warning("near", case=str(case.id), due=str(case.due_on), days=days, waiting=waiting))
    return found or [ok()]


def _awaited(case: Case, answers: Iterable[Answer]) -> list[str]:
    return sorted(answer.service for answer in answers if answer.case_id == case.id)
