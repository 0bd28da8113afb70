"""Reactions that every service shares: tenants, revoked sessions, erasure, holds, the end of a case."""

from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.auth import revoked_sessions
from shared.bus import Consumers
from shared.events.identity import (
    AccountDeactivated,
    ContentChoice,
    SessionsRevoked,
    TenantChanged,
    TenantDeactivated,
    TenantRegistered,
)
from shared.events.privacy import CaseCompleted, ErasureRedriven, HoldLifted, HoldPlaced
from shared.privacy.erasure import Eraser
from shared.privacy.tables import erasures, holds, tenants


def platform_reactions(eraser: Eraser) -> Consumers:
    """Return the reactions that no service may lack; `Service` includes them before its own."""
    consumers = Consumers(eraser.service)

    consumers.on(TenantRegistered, latest_only=True)(copy_tenant)
    consumers.on(TenantChanged, latest_only=True)(copy_tenant)
    consumers.on(SessionsRevoked)(refuse_sessions)
    consumers.on(HoldPlaced, overtakes=True)(place_hold)

    @consumers.on(HoldLifted, overtakes=True)
    async def resume_erasure(session: AsyncSession, event: HoldLifted) -> None:
        await lift_hold(session, event)
        await eraser.resume(session, event.account_id)

    @consumers.on(AccountDeactivated, overtakes=True)
    async def erase_subject(session: AsyncSession, event: AccountDeactivated) -> None:
        await eraser.erase_account(session, account_id=event.account_id, case_id=event.case_id, content=event.content)

    @consumers.on(TenantDeactivated, overtakes=True)
    async def erase_tenant(session: AsyncSession, event: TenantDeactivated) -> None:
        await eraser.start_tenant(session, case_id=event.case_id)

    @consumers.on(ErasureRedriven, overtakes=True)
    async def erase_again(session: AsyncSession, event: ErasureRedriven) -> None:
        if event.service != eraser.service:
            return
        if event.account_id is None:
            await eraser.start_tenant(session, case_id=event.case_id, again=True)
            return
        chosen = await session.scalar(select(erasures.c.content).where(erasures.c.case_id == event.case_id))
        content = ContentChoice(chosen or ContentChoice.REMOVE)
        await eraser.erase_account(
            session, account_id=event.account_id, case_id=event.case_id, content=content, again=True
        )

    consumers.on(CaseCompleted)(eraser.forget_case)
    return consumers


async def copy_tenant(session: AsyncSession, event: TenantRegistered | TenantChanged) -> None:
    values = {
        "slug": event.slug,
        "languages": ",".join(event.languages),
        "default_language": event.default_language,
        "time_zone": event.time_zone,
    }
    statement = insert(tenants).values(tenant_id=event.tenant_id, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["tenant_id"], set_=values))


async def refuse_sessions(session: AsyncSession, event: SessionsRevoked) -> None:
    until = datetime.fromtimestamp(event.until_epoch, UTC)
    rows = [
        {"session_id": one, "tenant_id": event.tenant_id, "account_id": event.account_id, "until": until}
        for one in event.session_ids
    ]
    if rows:
        await session.execute(insert(revoked_sessions).on_conflict_do_nothing(), rows)


async def place_hold(session: AsyncSession, event: HoldPlaced) -> None:
    row = {"tenant_id": event.tenant_id, "account_id": event.account_id}
    values = {"ground": event.ground, "review_on": event.review_on}
    statement = insert(holds).values(**row, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["tenant_id", "account_id"], set_=values))


async def lift_hold(session: AsyncSession, event: HoldLifted) -> None:
    lifted = (holds.c.tenant_id == event.tenant_id) & (holds.c.account_id == event.account_id)
    await session.execute(delete(holds).where(lifted))
