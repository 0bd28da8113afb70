"""Two people at once: the second waits for the first, and is told what it had not read."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from services.billing.actions import documents, parties, payments, prices
from services.billing.errors import BuyerErased
from services.billing.schemas import SellerIn
from shared.db import utc_now
from shared.events.identity import Role
from tests.services.billing.conftest import SELLER


def entered(**changed: str) -> dict[str, Any]:
    return SellerIn(**{**SELLER, **changed}).model_dump(exclude_none=True)


async def test_two_who_enter_the_seller_first_leave_one(shop: Any) -> None:
    tenant = await shop.billing.tenant()
    alma, agnes = (shop.billing.person(tenant, Role.ADMIN) for _ in range(2))
    async with shop.billing.database.transaction(tenant) as session:
        await parties.set_seller(session, details=entered(), if_match=None)
        second = asyncio.create_task(agnes.put("/seller", {**SELLER, "legal_name": "Quai SARL"}))
        await shop.somebody_waits()
    assert (await second).status_code == 428
    shown = await alma.get("/seller")
    assert (shown.json()["legal_name"], shown.headers["etag"]) == ("Canal SAS", '"1"')
    changed = await agnes.put("/seller", {**SELLER, "legal_name": "Quai SARL"}, etag='"1"')
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')


async def test_of_two_changes_of_the_seller_the_second_is_refused(shop: Any) -> None:
    async with shop.billing.database.transaction(shop.tenant) as session:
        await parties.set_seller(session, details=entered(city="Lyon"), if_match='"1"')
        second = asyncio.create_task(shop.alma.put("/seller", {**SELLER, "city": "Nice"}, etag='"1"'))
        await shop.somebody_waits()
    assert (await second).status_code == 412
    assert (await shop.alma.get("/seller")).json()["city"] == "Lyon"


async def test_of_two_changes_of_a_price_the_second_is_refused(shop: Any) -> None:
    price_id = await shop.price()
    async with shop.billing.database.transaction(shop.tenant) as session:
        await prices.change_price(session, UUID(price_id), changes={"price_minor": 2500}, if_match='"1"')
        second = asyncio.create_task(shop.maud.patch(f"/prices/{price_id}", {"price_minor": 1500}, etag='"1"'))
        await shop.somebody_waits()
    assert (await second).status_code == 412
    assert (await shop.maud.get(f"/prices/{price_id}")).json()["price_minor"] == 2500


async def test_an_address_that_has_changed_since_it_was_read_is_not_deleted(shop: Any, address: dict[str, str]) -> None:
    etag = (await shop.nora.put("/billing-address", address)).headers["etag"]
    moved = {"siren": None, "vat_id": None, **address, "street": "9 rue Nouvelle"}
    async with shop.billing.database.transaction(shop.tenant) as session:
        await parties.set_address(session, shop.nora.account_id, address=moved, if_match=etag)
        second = asyncio.create_task(shop.nora.delete("/billing-address", etag=etag))
        await shop.somebody_waits()
    assert (await second).status_code == 412
    assert (await shop.nora.get("/billing-address")).json()["street"] == "9 rue Nouvelle"


async def test_a_note_does_not_slip_in_behind_an_erasure(shop: Any) -> None:
    invoice = await shop.invoice(shop.nora)

    async def pay() -> None:
        async with shop.billing.database.transaction(shop.tenant) as session:
            await session.execute(text("SET LOCAL lock_timeout = '30s'"))
            found = await documents.get_invoice(session, invoice.id)
            received_on, note = utc_now().date(), "from Nora's mother"
            await payments.record_payment(
                session, found, amount_minor=2000, method="desk", received_on=received_on, note=note
            )

    async with shop.billing.database.transaction(shop.tenant) as session:
        await payments.lock_claim(session, invoice.id)
        paying = asyncio.create_task(pay())
        await shop.somebody_waits()
        await shop.forget(shop.nora)
    with pytest.raises(BuyerErased):
        await paying
    assert await shop.billing.rows("SELECT 1 FROM payments", shop.tenant) == []
