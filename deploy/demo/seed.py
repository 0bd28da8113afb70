"""The demo space, made through the public API as a tenant would make it: nothing here touches a database.

Every step asks what is there already and makes the rest: whatever interrupts it, the next call goes on where it stopped.
"""

import asyncio
import io
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
from PIL import Image, ImageDraw

from deploy.demo.client import Client, Member, Refused
from deploy.demo.people import DEPARTMENTS, NAMES, SKILLS

SLUG = "canal"
DOMAIN = "canal.example.com"
ADMIN = f"admin@{DOMAIN}"
AT_ONCE = 8
WELCOME = "**Bienvenue au Canal !** Petit-déjeuner vendredi à 9 h."
UNAUTHORIZED, CONFLICT, GONE = 401, 409, 410

Say = Callable[[str, int, int], None]


class SpaceTaken(Refused):
    """There is a space of this name, and its administrator has another password than the demo's."""


class Demo:
    """Seeds one space; `say(what, done, total)` reports progress."""

    def __init__(self, client: Client, *, password: str, operator_secret: str, say: Say) -> None:
        self._client = client
        self._password = password
        self._operator_secret = operator_secret
        self._say = say
        self._random = random.Random(1815)

    async def seed(self) -> None:
        """Make what is missing. Raises Refused, and SpaceTaken where it is not ours to complete."""
        admin = await self._open_space()
        # Made last: whoever finds it has nothing to do.
        if await self._welcomes(admin):
            return
        members = await self._invite_members(admin)
        await self._set_up_shop(admin)
        resources = await self._set_up_places(admin)
        await self._reserve(members, resources)
        await self._talk(admin, members)
        await self._ask_for_help(admin, members)
        await self._buy(admin, members)
        await self._welcome(admin)

    async def _open_space(self) -> Member:
        body = {"slug": SLUG, "name": "Canal", "admin": {"email": ADMIN, "password": self._password}}
        headers = {"Operator-Secret": self._operator_secret}
        made = await self._make("/identity/v1/tenants", body, headers=headers)
        try:
            return await self._client.sign_in(ADMIN, self._password)
        except Refused as error:
            if made is None and error.status == UNAUTHORIZED:
                raise SpaceTaken(f"the space {SLUG} is there, and opens with another password") from error
            raise

    async def _make(self, path: str, body: Any, **more: Any) -> Any:
        """Return what a POST makes, or None where it is there already."""
        try:
            return await self._client.call("POST", path, body, **more)
        except Refused as error:
            if error.status != CONFLICT:
                raise
            return None

    async def _rows(self, path: str, by: Member) -> list[dict[str, Any]]:
        """Return what a list route has, on its first page."""
        found = await self._client.call("GET", path, by=by)
        rows: list[dict[str, Any]] = found["data"] if isinstance(found, dict) else found
        return rows

    async def _invite_members(self, admin: Member) -> list[Member]:
        done = 0
        gate = asyncio.Semaphore(AT_ONCE)

        async def join(index: int, name: str) -> Member:
            nonlocal done
            async with gate:
                member = await self._join(admin, index, name)
            done += 1
            self._say("members", done, len(NAMES))
            return member

        return await asyncio.gather(*(join(index, name) for index, name in enumerate(NAMES)))

    async def _join(self, admin: Member, index: int, name: str) -> Member:
        email = f"member{index + 1:02}@{DOMAIN}"
        language = "fr" if index % 2 else "en"
        roles = {0: ["member", "manager"], 1: ["member", "dpo"]}.get(index, ["member"])
        invitation = {"email": email, "roles": roles, "language": language}
        if await self._make("/identity/v1/invitations", invitation, by=admin) is not None:
            await self._accept(email)
        member = await self._client.sign_in(email, self._password)
        await self._introduce(member, index, name, language)
        return member

    async def _accept(self, email: str) -> None:
        """Accept the newest invitation; of those before it, mails are there or on their way, and their links are spent."""
        spent = None
        while True:
            token = await self._client.mailed_token(email, other_than=spent)
            accepted = {"token": token, "password": self._password}
            try:
                await self._client.call("POST", f"/identity/v1/tenants/{SLUG}/invitation-acceptances", accepted)
            except Refused as error:
                if error.status != GONE:
                    raise
                spent = token
            else:
                return

    async def _introduce(self, member: Member, index: int, name: str, language: str) -> None:
        first, _, last = name.partition(" ")
        profile = {
            "first_name": first,
            "last_name": last,
            "phone": f"+33 1 99 00 {index:02} {(index * 7) % 100:02}",
            "position": self._random.choice(["Chercheuse", "Designer", "Engineer", "Rédacteur"]),
            "department": self._random.choice(DEPARTMENTS),
            "skills": self._random.sample(SKILLS, 3),
            "description": f"Au Canal depuis {2019 + index % 7}.",
            "language": language,
            "in_directory": index % 10 != 9,
        }
        await self._client.call("PUT", "/identity/v1/profile", profile, by=member, etag="*")
        picture = _portrait(first[0] + last[0], index)
        await self._client.upload(
            "PUT", "/identity/v1/profile/picture", picture, name="me.png", by=member, field="picture"
        )
        await self._client.call("PUT", "/privacy/v1/acceptance", {"number": 1}, by=member)

    async def _set_up_shop(self, admin: Member) -> None:
        seller = {
            "legal_name": "Canal SAS", "street": "10 quai de Valmy", "postcode": "75010", "city": "Paris",
            "siren": "123456789", "vat_id": "FR00123456789", "iban": "FR7630006000011234567890189",
        }  # fmt: skip
        await self._client.call("PUT", "/billing/v1/seller", seller, by=admin, etag="*")
        offered = {price["name"] for price in await self._rows("/billing/v1/prices", admin)}
        for name, price_minor, vat_rate_bp in (
            ("Pass journée / Day pass", 2400, 2000), ("Casier / Locker", 1500, 2000), ("Guide du quartier", 1200, 550),
        ):  # fmt: skip
            if name not in offered:
                price = {"name": name, "price_minor": price_minor, "vat_rate_bp": vat_rate_bp}
                await self._client.call("POST", "/billing/v1/prices", price, by=admin)
        await self._client.call("PUT", "/privacy/v1/officer", {"contact": f"dpo@{DOMAIN}"}, by=admin)

    async def _set_up_places(self, admin: Member) -> list[dict[str, Any]]:
        resources: list[dict[str, Any]] = []
        locations = {one["name"]: one for one in await self._rows("/booking/v1/locations", admin)}
        for name, address in (("Valmy", "10 quai de Valmy, Paris"), ("Jemmapes", "22 quai de Jemmapes, Paris")):
            place = {"name": name, "address": address, "time_zone": "Europe/Paris"}
            location = locations.get(name) or await self._client.call("POST", "/booking/v1/locations", place, by=admin)
            week = [{"weekday": day, "opens": "07:00", "closes": "22:00"} for day in range(7)]
            url = f"/booking/v1/locations/{location['id']}/opening-hours"
            await self._client.call("PUT", url, {"periods": week}, by=admin, etag="*")
            resources += await self._furnish(admin, location)
        return resources

    async def _furnish(self, admin: Member, location: dict[str, Any]) -> list[dict[str, Any]]:
        name, resources = location["name"], []
        listed = await self._rows(f"/booking/v1/resources?limit=100&location_id={location['id']}", admin)
        known = {one["name"]: one for one in listed}
        for kind, title, capacity, units, price in (
            ("room", f"Salle {name}", 8, 1, 2500), ("desk", f"Bureaux {name}", 1, 12, 400),
            ("equipment", f"Projecteur {name}", 1, 2, 0),
        ):  # fmt: skip
            body = {"location_id": location["id"], "name": title, "kind": kind, "capacity": capacity}
            body |= {"units": units, "hourly_price_minor": price, "free_cancellation_hours": 24}
            made = known.get(title) or await self._client.call("POST", "/booking/v1/resources", body, by=admin)
            resources.append(made)
        return resources

    async def _reserve(self, members: list[Member], resources: list[dict[str, Any]]) -> None:
        morning = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0)
        for index, member in enumerate(members):
            starts_at = morning + timedelta(days=1 + index % 14, hours=index % 5)
            resource = resources[index % len(resources)]
            body = {
                "resource_id": resource["id"],
                "starts_at": starts_at.isoformat(),
                "ends_at": (starts_at + timedelta(hours=1)).isoformat(),
                "note": "près de la fenêtre" if index % 2 else "near the window",
            }
            # Begun on another day, the same hour may be somebody else's by now.
            if not await self._rows("/booking/v1/reservations?limit=1", member):
                await self._make("/booking/v1/reservations", body, by=member)
            self._say("reservations", index + 1, len(members))

    async def _talk(self, admin: Member, members: list[Member]) -> None:
        known = {post["author"]["id"]: post for post in await self._rows("/feed/v1/posts?limit=100", admin)}
        for index, member in enumerate(members[:16]):
            other = members[(index + 3) % 9]
            post = {"body": f"Who joins for lunch, @{{mention:0}}? ({index + 1})", "mentions": [other.account_id]}
            there = known.get(member.account_id)
            made = there or await self._client.call("POST", "/feed/v1/posts", post, by=member)
            url = f"/feed/v1/posts/{made['id']}"
            if not made["counts"].get("comments"):
                await self._client.call("POST", f"{url}/comments", {"body": "Avec plaisir !"}, by=other)
            await self._client.call("PUT", f"{url}/reactions/like", by=members[(index + 5) % len(members)])
            self._say("posts", index + 1, 16)

    async def _ask_for_help(self, admin: Member, members: list[Member]) -> None:
        for index, member in enumerate(members[:10]):
            ticket = {"subject": "Badge", "body": "Mon badge n'ouvre plus la porte.", "category": "access"}
            known = await self._rows("/helpdesk/v1/tickets?limit=1", member)
            made = known[0] if known else await self._client.call("POST", "/helpdesk/v1/tickets", ticket, by=member)
            url = f"/helpdesk/v1/tickets/{made['id']}"
            if not await self._rows(f"{url}/attachments", member):
                picture = _portrait("?!", index)
                await self._client.upload("POST", f"{url}/attachments", picture, name="badge.png", by=member)
            for words, body in (("replies", "Nous regardons."), ("notes", "Lecteur à remplacer.")):
                if not await self._rows(f"{url}/{words}", admin):
                    await self._client.call("POST", f"{url}/{words}", {"body": body}, by=admin)
            self._say("tickets", index + 1, 10)

    async def _buy(self, admin: Member, members: list[Member]) -> None:
        prices = await self._client.call("GET", "/billing/v1/prices", by=admin)
        for index, member in enumerate(members[:12]):
            if index % 2:
                address = {"name": NAMES[index], "street": f"{index} rue de Lancry", "postcode": "75010"}
                address |= {"city": "Paris", "country": "FR"}
                await self._client.call("PUT", "/billing/v1/billing-address", address, by=member, etag="*")
            line = {"price_id": prices[index % len(prices)]["id"], "quantity": 1 + index % 3}
            orders = await self._rows("/billing/v1/orders?limit=100", member)
            if not any(order["origin"] == "purchase" for order in orders):
                await self._client.call("POST", "/billing/v1/orders", {"lines": [line]}, by=member)
            if index % 4 == 0 and not await self._rows("/billing/v1/quotes?limit=1", member):
                quote = {"account_id": member.account_id, "lines": [{**line, "quantity": 10}]}
                await self._client.call("POST", "/billing/v1/quotes", quote, by=admin)
        await self._settle(admin)

    async def _settle(self, admin: Member) -> None:
        """Pay every second invoice, credit every fifth, once they are issued."""
        documents = "/billing/v1/documents?everybody=true&limit=100&kind="
        invoices: list[dict[str, Any]] = []
        for _ in range(100):
            found = await self._rows(f"{documents}invoice", admin)
            if len(found) == len(invoices) and len(invoices) >= 12:
                break
            # The oldest first: those that come later change nobody's place.
            invoices = found[::-1]
            await asyncio.sleep(1.5)
        credited = {note["invoice_id"] for note in await self._rows(f"{documents}credit_note", admin)}
        today = datetime.now(UTC).date().isoformat()
        for index, invoice in enumerate(invoices):
            url = f"/billing/v1/documents/{invoice['id']}"
            if index % 2 == 0 and not await self._rows(f"{url}/payments", admin):
                pay = {"amount_minor": invoice["total_minor"], "method": "transfer", "received_on": today}
                await self._client.call("POST", f"{url}/payments", pay, by=admin)
            if index % 5 == 0 and invoice["id"] not in credited:
                credit = {"amount_minor": invoice["total_minor"] // 2 or 1, "reason": "goodwill"}
                await self._client.call("POST", f"{url}/credit-notes", credit, by=admin)
            self._say("invoices", index + 1, len(invoices))

    async def _welcomes(self, admin: Member) -> bool:
        pinned = await self._rows("/feed/v1/posts?pinned=true&limit=100", admin)
        return any(post["body"] == WELCOME for post in pinned)

    async def _welcome(self, admin: Member) -> None:
        """Announce the opening: published and pinned, it says that the space is complete."""
        posts = await self._rows("/feed/v1/posts?limit=100", admin)
        known = [post for post in posts if post["body"] == WELCOME]
        news = {"body": WELCOME, "is_announcement": True}
        made = known[0] if known else await self._client.call("POST", "/feed/v1/posts", news, by=admin)
        await self._client.call("PUT", f"/feed/v1/posts/{made['id']}/pin", {"on": True}, by=admin)


def _portrait(letters: str, index: int) -> bytes:
    """A picture for somebody who has none: their letters on a colour."""
    picture = Image.new("RGB", (256, 256), f"hsl({index * 37 % 360}, 45%, 55%)")
    ImageDraw.Draw(picture).text((128, 128), letters, fill="white", anchor="mm", font_size=96)
    output = io.BytesIO()
    picture.save(output, "PNG")
    return output.getvalue()


async def seed_demo(
    make_client: Callable[[aiohttp.ClientSession], Client], *, password: str, operator_secret: str, say: Say
) -> None:
    """Make the demo space, or what it lacks, with the client that `make_client(session)` returns. Raises Refused."""
    async with aiohttp.ClientSession() as session:
        await Demo(make_client(session), password=password, operator_secret=operator_secret, say=say).seed()
