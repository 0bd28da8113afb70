"""A NUL is valid JSON and valid in a URL, and PostgreSQL stores it nowhere: it is refused, and nothing is written."""

from typing import Any
from uuid import UUID

from services.billing.app import create_service as create_billing
from services.billing.settings import Settings as BillingSettings
from services.booking.app import create_service as create_booking
from services.booking.settings import Settings as BookingSettings
from shared.events.identity import Role
from shared.http import encode_cursor


async def test_text_that_cannot_be_stored_is_refused(start: Any) -> None:
    booking = await start("booking", create_booking, BookingSettings)
    maud = booking.person(await booking.tenant(), Role.MANAGER)
    refused = await maud.post("/locations", {"name": "Ca\0nal"})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_payload"), refused.text
    assert (await maud.get("/locations")).json() == []
    position = encode_cursor("a\0b", UUID(int=1))
    asked = await maud.get("/resources", params={"cursor": position})
    assert asked.status_code == 422, asked.text


async def test_text_that_cannot_be_stored_in_json_is_refused(start: Any) -> None:
    billing = await start("billing", create_billing, BillingSettings)
    alma = billing.person(await billing.tenant(), Role.ADMIN)
    seller = {"legal_name": "Ca\0nal", "street": "1 quai", "postcode": "75010", "city": "Paris", "siren": "123456789"}
    refused = await alma.put("/seller", seller)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_payload"), refused.text
    assert (await alma.get("/seller")).status_code == 404
