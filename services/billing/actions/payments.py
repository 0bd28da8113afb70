"""Money received: what is owed on an invoice shrinks; more than that stays as the buyer's credit."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.actions.parties import find_account_id
from services.billing.errors import BuyerErased
from services.billing.models import Claim, Document, Payment
from shared.bus import publish
from shared.events.billing import InvoicePaid


async def record_payment(
    session: AsyncSession, invoice: Document, *, amount_minor: int, method: str, received_on: date, note: str | None
) -> Payment:
    """Note money received; partial and too large payments are kept as they are.

    Raises BuyerErased when there is a note, which is personal, and the buyer's account is gone.
    """
    claim = await lock_claim(session, invoice.id)
    was_open = claim.settled_on is None
    payment = Payment(
        tenant_id=invoice.tenant_id,
        invoice_id=invoice.id,
        party_id=invoice.party_id,
        amount_minor=amount_minor,
        method=method,
        received_on=received_on,
        note=note,
    )
    session.add(payment)
    await settle(session, claim, amount_minor, on=received_on)
    # Looked up once the row is written: its guard has either found the account, and no erasure gets past it before this
    # transaction ends, or has found none, and then none is found here. The other way round, one could slip in between.
    account_id = await find_account_id(session, invoice.party_id)
    if note and account_id is None:
        raise BuyerErased
    if was_open and claim.settled_on is not None:
        common = {"tenant_id": invoice.tenant_id, "invoice_id": invoice.id, "order_id": invoice.order_id}
        await publish(session, InvoicePaid(**common, account_id=account_id), version=2)
    return payment


async def list_payments(session: AsyncSession, invoice_id: UUID) -> Sequence[Payment]:
    """Return an invoice's payments as they came in (an invoice has few)."""
    of_invoice = select(Payment).where(Payment.invoice_id == invoice_id).order_by(Payment.received_on, Payment.id)
    return (await session.execute(of_invoice)).scalars().all()


async def lock_claim(session: AsyncSession, invoice_id: UUID) -> Claim:
    """Return what is owed on an invoice; whoever changes it next waits."""
    return (await session.execute(select(Claim).where(Claim.invoice_id == invoice_id).with_for_update())).scalar_one()


async def settle(session: AsyncSession, claim: Claim, amount_minor: int, *, on: date) -> None:
    """Take an amount off what is owed; the first time that nothing is left, the claim is settled."""
    claim.open_minor -= amount_minor
    claim.version += 1
    if claim.open_minor <= 0 and claim.settled_on is None:
        claim.settled_on = on
    await session.flush()
