"""A space that sells: its admin Alma, its manager Maud, the members Ada and Nora, who asks to be forgotten."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from services.billing.actions import invoices, orders
from services.billing.app import create_service
from services.billing.models import Document, OrderOrigin
from services.billing.settings import Settings
from shared.db import utc_now, uuid7
from shared.events.identity import AccountDeactivated, DeactivationReason, Role
from tests.support.testing import Person, ServiceUnderTest, wait_for

SELLER = {"legal_name": "Canal SAS", "street": "1 quai", "postcode": "75010", "city": "Paris", "siren": "123456789"}
SOMEBODY_WAITS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
ADDRESS = {"name": "Nora Example", "street": "7 rue Oubliée", "postcode": "75011", "city": "Paris", "country": "FR"}


@dataclass
class Shop:
    billing: ServiceUnderTest
    tenant: UUID
    alma: Person
    maud: Person
    ada: Person
    nora: Person

    async def price(self, name: str = "Day pass", price_minor: int = 2000, vat_rate_bp: int = 2000) -> str:
        body = {"name": name, "price_minor": price_minor, "vat_rate_bp": vat_rate_bp}
        return str((await self.maud.post("/prices", body)).json()["id"])

    async def buy(self, member: Person, *, quantity: int = 1, price_minor: int = 2000) -> UUID:
        wanted = {"price_id": await self.price(price_minor=price_minor), "quantity": quantity}
        made = await member.post("/orders", {"lines": [wanted]})
        assert made.status_code == 201, made.text
        return UUID(made.json()["id"])

    async def invoice(self, member: Person, **more: Any) -> Document:
        """Buy and finalize, as the job does once identity has answered."""
        order_id = await self.buy(member, **more)
        return await self.finalize(order_id, name="member@example.org")

    async def finalize(self, order_id: UUID, *, name: str) -> Document:
        async with self.billing.database.transaction(self.tenant) as session:
            invoice = await invoices.issue_invoice(session, order_id, name=name, language="fr", now=utc_now())
            assert invoice is not None
            return invoice

    async def order(self, member: Person, lines: list[dict[str, Any]]) -> UUID:
        async with self.billing.database.transaction(self.tenant) as session:
            order = await orders.place_order(
                session, member.account_id, origin=OrderOrigin.PURCHASE, currency="EUR", lines=lines
            )
            assert order is not None
            return order.id

    async def forget(self, person: Person) -> None:
        event = AccountDeactivated(
            tenant_id=self.tenant, account_id=person.account_id, case_id=uuid7(), reason=DeactivationReason.OWN_REQUEST
        )
        await self.billing.receive(event)

    async def somebody_waits(self) -> None:
        """Return once a transaction waits for what another one has locked."""
        await wait_for(lambda: self.billing.rows(SOMEBODY_WAITS), what="a transaction waiting for another")


@pytest.fixture(scope="session")
async def billing(start: Any) -> ServiceUnderTest:
    return await start("billing", create_service, Settings)


@pytest.fixture
async def shop(billing: ServiceUnderTest) -> Shop:
    return await open_shop(billing)


@pytest.fixture
async def next_door(shop: Shop, billing: ServiceUnderTest) -> Shop:
    """A space that comes after the first one wherever spaces are taken in turn."""
    return await open_shop(billing)


async def open_shop(billing: ServiceUnderTest) -> Shop:
    tenant = await billing.tenant()
    alma = billing.person(tenant, Role.ADMIN)
    assert (await alma.put("/seller", SELLER)).status_code == 200
    return Shop(
        billing, tenant, alma, billing.person(tenant, Role.MANAGER), billing.person(tenant), billing.person(tenant)
    )


@pytest.fixture
def address() -> dict[str, str]:
    return dict(ADDRESS)
