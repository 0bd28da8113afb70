"""Redaction of a service's own event log when the people in it are erased."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from shared.db import fetch

_EMPTIED = "data = NULL, key = NULL, subject_ids = '{}', redacted_at = now()"
_ABOUT = "subject_ids && $1::uuid[] AND type <> ALL($2::text[])"
_LATER = (
    f"WITH marked AS (UPDATE event_log SET redact_on_relay = 1 WHERE {_ABOUT} AND redact_on_relay = 0"
    " AND position IN (SELECT position FROM outbox) RETURNING 1) SELECT count(*) FROM marked"
)
_NOW = (
    f"WITH emptied AS (UPDATE event_log SET {_EMPTIED} WHERE {_ABOUT} AND position NOT IN (SELECT position FROM outbox)"
    f" RETURNING 1), parked AS (DELETE FROM inbox_parked WHERE {_ABOUT}),"
    " order_of_news AS (DELETE FROM watermarks WHERE key = ANY($3)) SELECT count(*) FROM emptied"
)
_OF_TENANT = "tenant_id = $1 AND subject_ids <> '{}' AND type <> ALL($2::text[])"
_LATER_OF_TENANT = (
    f"UPDATE event_log SET redact_on_relay = 1 WHERE {_OF_TENANT} AND position IN (SELECT position FROM outbox)"
)
_PARKED_OF_TENANT = "DELETE FROM inbox_parked WHERE tenant_id = $1 AND type <> ALL($2::text[])"
_NOW_OF_TENANT = (
    f"UPDATE event_log SET {_EMPTIED} WHERE {_OF_TENANT} AND position NOT IN (SELECT position FROM outbox) RETURNING 1"
)


async def redact_subjects(session: AsyncSession, subject_ids: Collection[UUID], *, keep_types: Collection[str]) -> int:
    """Empty every log row about these accounts, at once if relayed, else when the broker has confirmed it.

    Rows of `keep_types` (the deactivation itself, receipts) keep the id until the case completes. Parked events
    about them go, too. Returns the number of log rows concerned.
    """
    about = (list(subject_ids), list(keep_types))
    ((marked,),) = await fetch(session, _LATER, *about)
    # A statement of its own: what the relay has struck out while the first one waited for it is seen now.
    ((emptied,),) = await fetch(session, _NOW, *about, [str(subject) for subject in subject_ids])
    return int(marked + emptied)


async def redact_tenant(session: AsyncSession, tenant_id: UUID, *, keep_types: Collection[str]) -> int:
    """Empty every log row of a tenant that names a person; `keep_types` as in `redact_subjects`."""
    about = (tenant_id, list(keep_types))
    await fetch(session, _LATER_OF_TENANT, *about)
    await fetch(session, _PARKED_OF_TENANT, *about)
    return len(await fetch(session, _NOW_OF_TENANT, *about))


def tenant_redaction(step: str, *, keep_types: Collection[str]) -> tuple[str, str]:
    """Return what `redact_tenant` does to the log as SQL for a walk, of all but `:held` accounts.

    The first statement returns where the first and the last row lie, the second works on the rows of the SQL condition
    `step` and returns (changed, 0).
    """
    kept = ", ".join(f"'{one}'" for one in sorted(keep_types))
    about = (
        "tenant_id = current_setting('cowork.tenant')::uuid AND subject_ids <> '{}' AND redact_on_relay = 0"
        f" AND NOT subject_ids && :held AND type NOT IN ({kept})"
    )
    waits = "EXISTS (SELECT FROM outbox o WHERE o.position = l.position)"
    change = (
        f"WITH emptied AS (UPDATE event_log l SET {_EMPTIED} WHERE {step} AND {about} AND NOT {waits} RETURNING 1),"
        f" later AS (UPDATE event_log l SET redact_on_relay = 1 WHERE {step} AND {about} AND {waits} RETURNING 1)"
        " SELECT (SELECT count(*) FROM emptied) + (SELECT count(*) FROM later), 0"
    )
    return f"SELECT min(ctid), max(ctid) FROM event_log WHERE {about}", change
