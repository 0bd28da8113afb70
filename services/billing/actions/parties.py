"""Who buys: the party behind an account, its private billing address, and the seller."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from services.billing.errors import AddressNotFound
from services.billing.models import AccountParty, Party, Seller
from shared.db import tenant_of, uuid7
from shared.http import check_match

ADDRESS = ("name", "street", "postcode", "city", "country", "siren", "vat_id")


async def find_party_id(session: AsyncSession, account_id: UUID) -> UUID | None:
    """Return the party of an account, or None when it has never bought anything (or is erased)."""
    found: UUID | None = await session.scalar(
        select(AccountParty.party_id).where(AccountParty.account_id == account_id)
    )
    return found


async def find_account_id(session: AsyncSession, party_id: UUID) -> UUID | None:
    """Return the account of a party, or None once it is erased."""
    found: UUID | None = await session.scalar(select(AccountParty.account_id).where(AccountParty.party_id == party_id))
    return found


async def ensure_party(session: AsyncSession, account_id: UUID) -> UUID:
    """Return the account's party, made if it has none. The tombstone trigger refuses an erased account."""
    known = await find_party_id(session, account_id)
    if known is not None:
        return known
    tenant_id, party_id = tenant_of(session), uuid7()
    row = {"tenant_id": tenant_id, "account_id": account_id, "party_id": party_id}
    made = await session.execute(
        upsert(AccountParty).values(row).on_conflict_do_nothing().returning(AccountParty.party_id)
    )
    if made.scalar() is None:
        return await ensure_party(session, account_id)
    await session.execute(insert(Party).values(id=party_id, tenant_id=tenant_id, version=1))
    return party_id


async def get_address(session: AsyncSession, account_id: UUID, *, lock: bool = False) -> Party:
    """Raises AddressNotFound."""
    party_id = await find_party_id(session, account_id)
    party = await session.get(Party, party_id, with_for_update=lock or None) if party_id else None
    if party is None or party.street is None:
        raise AddressNotFound
    return party


async def set_address(
    session: AsyncSession, account_id: UUID, *, address: Mapping[str, str | None], if_match: str | None
) -> Party:
    """Set or change the private billing address; documents already issued keep their copy."""
    party = await session.get_one(Party, await ensure_party(session, account_id), with_for_update=True)
    if party.street is not None:
        check_match(if_match, party.version)
    for name in ADDRESS:
        setattr(party, name, address[name])
    party.version += 1
    await session.flush()
    return party


async def delete_address(session: AsyncSession, account_id: UUID, *, if_match: str | None) -> None:
    """Delete the private billing address; nothing of it stays outside issued documents. Raises AddressNotFound."""
    party = await get_address(session, account_id, lock=True)
    check_match(if_match, party.version)
    for name in ADDRESS:
        setattr(party, name, None)
    party.version += 1


async def buyer_of(session: AsyncSession, party_id: UUID, *, fallback_name: str) -> dict[str, Any]:
    """Return the personal block of a document: the party's name and address, or the name that identity gave."""
    party = await session.get(Party, party_id)
    if party is None or party.name is None:
        return {"name": fallback_name}
    return {name: getattr(party, name) for name in ADDRESS if getattr(party, name)}


async def find_seller(session: AsyncSession) -> Seller | None:
    return (await session.execute(select(Seller))).scalar_one_or_none()


async def set_seller(session: AsyncSession, *, details: dict[str, Any], if_match: str | None) -> Seller:
    """Enter or change who sells; issued documents keep what they said.

    Whoever enters it at the same moment as somebody else waits, and then changes what the other has entered.
    """
    row = {"id": uuid7(), "tenant_id": tenant_of(session), "details": details, "version": 1}
    first = upsert(Seller).values(row).on_conflict_do_nothing().returning(Seller)
    entered: Seller | None = await session.scalar(first)
    if entered is not None:
        return entered
    seller = (await session.execute(select(Seller).with_for_update())).scalar_one()
    check_match(if_match, seller.version)
    seller.details = details
    seller.version += 1
    await session.flush()
    return seller
