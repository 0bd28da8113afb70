"""What a member leaves behind in every service, value by value, and what another member's own pages show."""

import asyncio
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from PIL import Image


def picture(text: str) -> bytes:
    output = io.BytesIO()
    exif = Image.Exif()
    exif[0x013B] = text
    Image.new("RGB", (64, 64), "teal").save(output, "JPEG", exif=exif)
    return output.getvalue()


class Traces:
    """What Nora leaves behind, value by value."""

    def __init__(self) -> None:
        mark = uuid4().hex[:10]
        self.values = {
            name: f"{name}{mark}"
            for name in (
                "Firstname", "Lastname", "Position", "Department", "Skill", "Description", "Note", "Post", "Comment",
                "Subject", "Ticketbody", "Attached", "Buyername", "Street", "Request", "Payment",
            )
        }  # fmt: skip
        self.email = f"nora{mark}@example.org"
        self.phone = "+33 6 98 76 54 32"

    def all(self) -> list[str]:
        return [*self.values.values(), self.email, self.phone]


async def join_as(space: Any, traces: Traces) -> Any:
    """Join with a profile that is full of traces."""
    say = traces.values
    return await space.join(
        say["Firstname"], email=traces.email, last_name=say["Lastname"], phone=traces.phone, position=say["Position"],
        department=say["Department"], skills=[say["Skill"]], description=say["Description"],
    )  # fmt: skip


async def leave_traces(space: Any, nora: Any, omar: Any, traces: Traces) -> dict[str, Any]:
    client, say = space.client, traces.values
    await client.upload("PUT", "/identity/v1/profile/picture", picture("x"), name="me.jpg", by=nora, field="picture")
    address = {"name": say["Buyername"], "street": say["Street"], "postcode": "75011", "city": "Paris", "country": "FR"}
    await client.call("PUT", "/billing/v1/billing-address", address, by=nora, etag="*")
    place = {"name": "Valmy", "time_zone": "Europe/Paris"}
    location = await client.call("POST", "/booking/v1/locations", place, by=space.alma)
    room = {"location_id": location["id"], "name": "Loft", "kind": "room", "hourly_price_minor": 3000}
    resource = await client.call("POST", "/booking/v1/resources", room, by=space.alma)
    starts_at = (datetime.now(UTC) + timedelta(days=7)).replace(minute=0, second=0, microsecond=0)
    slot = {"resource_id": resource["id"], "starts_at": starts_at.isoformat(), "note": say["Note"]}
    slot["ends_at"] = (starts_at + timedelta(hours=1)).isoformat()
    await client.call("POST", "/booking/v1/reservations", slot, by=nora)
    post = await client.call("POST", "/feed/v1/posts", {"body": say["Post"]}, by=nora)
    others = {"body": "ask @{mention:0}", "mentions": [nora.account_id]}
    thread = await client.call("POST", "/feed/v1/posts", others, by=omar)
    await client.call("POST", f"/feed/v1/posts/{thread['id']}/comments", {"body": say["Comment"]}, by=nora)
    ticket = {"subject": say["Subject"], "body": say["Ticketbody"], "category": "access"}
    ticket = await client.call("POST", "/helpdesk/v1/tickets", ticket, by=nora)
    url = f"/helpdesk/v1/tickets/{ticket['id']}/attachments"
    await client.upload("POST", url, f"file {say['Attached']}".encode(), name=f"{say['Attached']}.txt", by=nora)
    price = {"name": "Day pass", "price_minor": 2000}
    price = await client.call("POST", "/billing/v1/prices", price, by=space.alma)
    await client.call("POST", "/billing/v1/orders", {"lines": [{"price_id": price["id"]}]}, by=nora)
    preference = {"mode": "off"}
    await client.call("PUT", "/notify/v1/preferences/comment/email", preference, by=nora)
    await client.call("PUT", "/privacy/v1/consents/communication", {"given": True}, by=nora)
    await client.call("POST", "/privacy/v1/requests", {"kind": "other", "body": say["Request"]}, by=nora)
    invoices = await invoices_of(space, nora, 2)
    paid = {"amount_minor": 500, "method": "transfer", "received_on": "2026-11-24", "note": say["Payment"]}
    await client.call("POST", f"/billing/v1/documents/{invoices[0]['id']}/payments", paid, by=space.alma)
    return {"post": post, "thread": thread, "invoices": invoices}


async def invoices_of(space: Any, member: Any, count: int) -> list[Any]:
    for _ in range(200):
        page = await space.client.call("GET", "/billing/v1/documents?kind=invoice", by=member)
        if len(page["data"]) == count:
            return list(page["data"])
        await asyncio.sleep(0.1)
    raise AssertionError("the invoices are not issued")


async def everything_about(space: Any, member: Any) -> dict[str, Any]:
    """What a member's own pages show (their session's last use moves by itself)."""
    paths = ("/identity/v1/profile", "/booking/v1/reservations", "/helpdesk/v1/tickets", "/notify/v1/preferences")
    found = {path: await space.client.call("GET", path, by=member) for path in paths}
    profile = found["/identity/v1/profile"]
    profile.pop("picture_url", None)
    return found
