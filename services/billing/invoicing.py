"""From an order to its invoice: identity is asked for the name before the transaction that finalizes."""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import structlog

from services.billing.actions.invoices import issue_invoice
from services.billing.actions.orders import due_orders
from services.billing.actions.parties import find_account_id, find_seller
from services.billing.actions.purchases import Contact
from shared.db import Database
from shared.internal import Internal
from shared.problems import BadGateway, Gone, NotFound

log = structlog.get_logger()
BATCH = 50
NAMELESS = "—"


async def invoice_due(database: Database, internal: Internal, tenant_id: UUID, *, now: datetime) -> int:
    """Invoice what is due in a tenant; return how many. Orders wait while identity or the seller is missing."""
    async with database.transaction(tenant_id) as session:
        orders = await due_orders(session, limit=BATCH)
        if not orders or await find_seller(session) is None:
            return 0
        waiting = [(order.id, await find_account_id(session, order.party_id)) for order in orders]
    try:
        contacts = await _contacts_of(internal, tenant_id, {account_id for _, account_id in waiting})
    except BadGateway as error:
        log.info("invoice.waits_for_identity", exc_info=error)
        return 0
    for order_id, account_id in waiting:
        name, language = contacts[account_id]
        async with database.transaction(tenant_id) as session:
            # Finds nothing to do where a cancellation that came in between has taken the order back.
            await issue_invoice(session, order_id, name=name, language=language, now=now)
    return len(waiting)


async def _contacts_of(
    internal: Internal, tenant_id: UUID, account_ids: Iterable[UUID | None]
) -> dict[UUID | None, Contact]:
    accounts = list(account_ids)
    found = await asyncio.gather(*(contact_of(internal, tenant_id, account_id) for account_id in accounts))
    return dict(zip(accounts, found, strict=True))


async def find_contact(internal: Internal, tenant_id: UUID, account_id: UUID) -> Contact | None:
    """Return who buys, or None while identity does not answer: the order is placed, the job invoices it."""
    try:
        return await contact_of(internal, tenant_id, account_id)
    except BadGateway as error:
        log.info("invoice.waits_for_identity", exc_info=error)
        return None


async def contact_of(internal: Internal, tenant_id: UUID, account_id: UUID | None) -> Contact:
    """Return (name, else e-mail address, language) for a document; neutral once the account is erased. Raises BadGateway."""
    if account_id is None:
        return NAMELESS, "fr"
    try:
        contact = await internal.get("identity", f"contacts/{account_id}", tenant_id=tenant_id)
    except (Gone, NotFound):
        return NAMELESS, "fr"
    return str(contact["name"] or contact["email"]), str(contact["language"])
