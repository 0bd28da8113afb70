"""From a due order to its invoice: identity is asked for the name before the transaction that finalizes."""

from datetime import datetime
from uuid import UUID

import structlog

from services.billing.actions.invoices import issue_invoice
from services.billing.actions.orders import due_orders
from services.billing.actions.parties import buyer_of, find_account_id, find_seller
from services.billing.models import Order, OrderState
from shared.db import Database
from shared.internal import Internal
from shared.problems import BadGateway, Gone, NotFound

log = structlog.get_logger()
BATCH = 50
NAMELESS = "—"


async def invoice_due(database: Database, internal: Internal, tenant_id: UUID, *, now: datetime) -> int:
    """Invoice what is due in a tenant; return how many. Orders wait while identity or the seller is missing."""
    async with database.transaction(tenant_id) as session:
        if await find_seller(session) is None:
            return 0
        waiting = [
            (order.id, await find_account_id(session, order.party_id))
            for order in await due_orders(session, limit=BATCH)
        ]
    for order_id, account_id in waiting:
        try:
            name, language = await contact_of(internal, tenant_id, account_id)
        except BadGateway as error:
            log.info("invoice.waits_for_identity", exc_info=error)
            return 0
        async with database.transaction(tenant_id) as session:
            # A cancellation that came in between has taken the order back.
            order = await session.get(Order, order_id, with_for_update=True)
            if order is None or order.state is not OrderState.DUE:
                continue
            buyer = await buyer_of(session, order.party_id, fallback_name=name)
            await issue_invoice(session, order, buyer=buyer, language=language, now=now)
    return len(waiting)


async def contact_of(internal: Internal, tenant_id: UUID, account_id: UUID | None) -> tuple[str, str]:
    """Return (name, else e-mail address, language) for a document; neutral once the account is erased. Raises BadGateway."""
    if account_id is None:
        return NAMELESS, "fr"
    try:
        contact = await internal.get("identity", f"contacts/{account_id}", tenant_id=tenant_id)
    except (Gone, NotFound):
        return NAMELESS, "fr"
    return str(contact["name"] or contact["email"]), str(contact["language"])
