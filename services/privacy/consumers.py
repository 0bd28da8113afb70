"""Events in: an erasure opens a case, every service's receipt brings it closer to its end."""

from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.privacy.actions import cases
from services.privacy.actions.policies import publish_first_policy
from services.privacy.models import Participant
from shared.bus import Consumers, handling
from shared.db import enter_tenant, utc_now
from shared.events.erasure import RECEIPTS, ManifestPublished, Receipt
from shared.events.identity import AccountDeactivated, TenantDeactivated, TenantRegistered
from shared.privacy.tables import tenants

consumers = Consumers("privacy")


@consumers.on(TenantRegistered)
async def publish_policy_of_new_tenant(session: AsyncSession, event: TenantRegistered) -> None:
    await publish_first_policy(session, today=utc_now().astimezone(ZoneInfo(event.time_zone)).date())


@consumers.on(AccountDeactivated, overtakes=True)
async def open_account_case(session: AsyncSession, event: AccountDeactivated) -> None:
    await cases.open_case(
        session, event.case_id, account_id=event.account_id, reason=event.reason, commanded_at=_commanded_at()
    )


@consumers.on(TenantDeactivated, overtakes=True)
async def open_tenant_case(session: AsyncSession, event: TenantDeactivated) -> None:
    await cases.open_case(session, event.case_id, account_id=None, reason="tenant", commanded_at=_commanded_at())


async def register_participant(session: AsyncSession, event: ManifestPublished) -> None:
    """Whoever publishes a manifest must answer from now on, also the cases that are open."""
    values = {"manifest_digest": event.digest}
    statement = insert(Participant).values(service=event.service, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["service"], set_=values))
    for tenant_id in (await session.execute(select(tenants.c.tenant_id))).scalars().all():
        await enter_tenant(session, tenant_id)
        await cases.join_open_cases(session, event.service)


def _note_receipts_of(service: str) -> Any:
    async def note_receipt(session: AsyncSession, event: Receipt) -> None:
        await cases.note_receipt(session, service, event, now=utc_now())

    return note_receipt


def _commanded_at() -> Any:
    message = handling.get()
    return message.time if message is not None else utc_now()


for _service, (_account, _tenant, _manifest) in RECEIPTS.items():
    consumers.on(_account)(_note_receipts_of(_service))
    consumers.on(_tenant)(_note_receipts_of(_service))
    consumers.on(_manifest)(register_participant)
