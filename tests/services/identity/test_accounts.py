"""Administration of accounts and of the space, and what other services ask."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import text

from services.identity.keyring import OVERLAP, delete_retired, rotate_if_old
from shared.db import utc_now
from shared.events.identity import AccountRolesChanged, LinkPurpose, Role, TenantChanged, TenantRegistered
from tests.services.identity.door import OPERATOR, PASSWORD, Space
from tests.support.testing import Person

_KEYS = text("SELECT signs_from, retires_at FROM signing_keys ORDER BY signs_from")


async def test_only_the_operator_opens_a_space_and_each_short_name_once(space: Space) -> None:
    body = {"slug": space.slug, "name": "Copy", "admin": {"email": "eve@example.com", "password": PASSWORD}}

    assert (await space.public.post("/tenants", json=body)).json()["code"] == "operator_only"
    wrong = await space.public.post("/tenants", json=body, headers={"Operator-Secret": "guess"})
    assert wrong.status_code == 403
    taken = await space.public.post("/tenants", json=body, headers={"Operator-Secret": OPERATOR})
    assert (taken.status_code, taken.json()["code"]) == (409, "slug_taken")
    weak = {**body, "slug": f"loft-{uuid4().hex[:8]}", "admin": {"email": "eve@example.com", "password": "password"}}
    refused = await space.public.post("/tenants", json=weak, headers={"Operator-Secret": OPERATOR})
    assert refused.json()["code"] == "weak_password"


async def test_a_space_without_a_bootstrap_password_invites_its_administrator(open_space: Any) -> None:
    space = await open_space(admin={"email": "agnes@example.com"})

    token = await space.token("agnes@example.com", LinkPurpose.INVITATION)
    await space.at_door("invitation-acceptances", {"token": token, "password": PASSWORD})

    assert (await space.sign_in("agnes@example.com")).json()["roles"] == ["admin", "member"]
    (opened,) = await space.identity.published(TenantRegistered, space.tenant_id)
    assert opened.slug == space.slug


async def test_the_door_shows_a_space_and_nothing_else(space: Space) -> None:
    shown = (await space.public.get(f"/tenants/{space.slug}")).json()
    assert set(shown) == {"tenant_id", "slug", "name", "languages", "default_language"}


async def test_settings_change_by_administrators_with_the_version_they_read(
    space: Space, agnes: Person, ada: Person
) -> None:
    read = await agnes.get("/tenant")
    settings = {name: value for name, value in read.json().items() if name not in ("tenant_id", "slug", "version")}
    body = {**settings, "name": "Loft Bastille", "time_zone": "Europe/Brussels", "cooling_off_days": 7}

    assert (await ada.put("/tenant", body, etag='"1"')).status_code == 403
    assert (await agnes.put("/tenant", body)).status_code == 428
    assert (await agnes.put("/tenant", {**body, "time_zone": "Mars/Base"}, etag='"1"')).status_code == 422
    changed = await agnes.put("/tenant", body, etag=read.headers["ETag"])
    assert (changed.status_code, changed.json()["name"]) == (200, "Loft Bastille")
    assert (await agnes.put("/tenant", body, etag=read.headers["ETag"])).status_code == 412
    (event,) = await space.identity.published(TenantChanged, space.tenant_id)
    assert event.time_zone == "Europe/Brussels"


async def test_of_two_changes_made_at_once_the_second_is_told(space: Space, agnes: Person) -> None:
    read = await agnes.get("/tenant")
    settings = {name: value for name, value in read.json().items() if name not in ("tenant_id", "slug", "version")}
    zones = ("Europe/Brussels", "Europe/Lisbon")
    async with space.identity.database.transaction(space.tenant_id) as session:
        await session.execute(text("SELECT 1 FROM tenant_settings FOR UPDATE"))
        changing = [
            asyncio.create_task(agnes.put("/tenant", {**settings, "time_zone": zone}, etag=read.headers["ETag"]))
            for zone in zones
        ]
        await space.blocked(2)

    answers = await asyncio.gather(*changing)

    assert sorted(answer.status_code for answer in answers) == [200, 412]
    (kept,) = [zone for zone, answer in zip(zones, answers, strict=True) if answer.status_code == 200]
    assert (await agnes.get("/tenant")).json()["time_zone"] == kept
    assert [event.time_zone for event in await space.identity.published(TenantChanged, space.tenant_id)] == [kept]


async def test_an_invitation_to_more_than_membership_asks_for_the_password_again(space: Space) -> None:
    stale = await space.signed_in_an_hour_ago(space.admin_email)

    for roles in (["admin"], ["member", "manager"], ["dpo"]):
        refused = await stale.post("/invitations", {"email": "eve@example.com", "roles": roles})
        assert (refused.status_code, refused.json()["code"]) == (403, "step_up_required")
    assert not await space.rows("SELECT 1 FROM accounts WHERE email = 'eve@example.com'")
    assert (await stale.post("/invitations", {"email": "ines@example.com"})).status_code == 201


async def test_roles_are_given_and_taken_by_administrators(space: Space, agnes: Person, ada: Person) -> None:
    account = await agnes.get(f"/accounts/{ada.account_id}")
    path = f"/accounts/{ada.account_id}/roles"

    assert (await ada.put(path, {"roles": ["admin"]}, etag='"2"')).status_code == 403
    assert (await agnes.put(path, {"roles": ["owner"]}, etag='"2"')).status_code == 422
    assert (await agnes.put(path, {"roles": ["manager"]})).status_code == 428
    promoted = await agnes.put(path, {"roles": ["member", "manager"]}, etag=account.headers["ETag"])
    assert promoted.json()["roles"] == ["manager", "member"]
    # A role more is seen at the next refresh; a role less ends what was opened with it.
    assert (await ada.get("/profile")).status_code == 200
    await agnes.put(path, {"roles": ["member"]}, etag=promoted.headers["ETag"])
    assert (await ada.get("/profile")).status_code == 401
    events = await space.identity.published(AccountRolesChanged, space.tenant_id)
    assert [event.roles for event in events] == [[Role.MANAGER, Role.MEMBER], [Role.MEMBER]]


async def test_a_space_keeps_its_last_administrator(space: Space, agnes: Person) -> None:
    demoted = await agnes.put(f"/accounts/{space.admin_id}/roles", {"roles": ["member"]}, etag="*")
    assert (demoted.status_code, demoted.json()["code"]) == (409, "last_administrator")
    assert demoted.json()["remedy"] == "give_another_account_the_administrator_role"


async def test_administrators_list_accounts_by_role_and_state(space: Space, agnes: Person, ada: Person) -> None:
    await space.at_door("accounts", {"email": "unverified@example.com", "password": PASSWORD})
    await agnes.post("/invitations", {"email": "ines@example.com"})

    listed = (await agnes.get("/accounts")).json()["data"]
    assert [one["email"] for one in listed] == [space.admin_email, "ada@example.com", "ines@example.com"]
    admins = (await agnes.get("/accounts", params={"role": "admin"})).json()["data"]
    assert [one["id"] for one in admins] == [str(space.admin_id)]
    invited = (await agnes.get("/accounts", params={"state": "invited", "limit": 1})).json()
    assert [one["state"] for one in invited["data"]] == ["invited"]
    assert (await ada.get("/accounts")).status_code == 403


async def test_accounts_of_another_space_are_not_there(space: Space, open_space: Any, ada: Person) -> None:
    elsewhere = await open_space()
    stranger = await elsewhere.signed_in(elsewhere.admin_email)

    for path in (f"/accounts/{ada.account_id}", f"/accounts/{uuid4()}"):
        assert (await stranger.get(path)).status_code == 404
    ended = await stranger.put(f"/accounts/{ada.account_id}/deactivation", {}, headers={"Idempotency-Key": uuid4().hex})
    assert ended.status_code == 404


async def test_services_get_tokens_for_their_own_secret_and_scopes(space: Space, ada: Person) -> None:
    internal = space.identity.internal
    for body in (
        {"client_id": "notify", "client_secret": "secret-billing"},
        {"client_id": "nobody", "client_secret": ""},
    ):
        assert (await internal.post("/service-tokens", json=body)).json()["code"] == "invalid_client"

    contact = await space.ask("billing", f"contacts/{ada.account_id}")
    assert contact.json() == {"email": "ada@example.com", "language": "fr", "name": ""}
    assert (await space.ask("booking", f"contacts/{ada.account_id}")).json()["code"] == "scope_required"
    assert (await space.ask("notify", f"contacts/{uuid4()}")).status_code == 410
    person = {"Authorization": f"Bearer {ada.token}"}
    path = f"/contacts/{ada.account_id}"
    parameters = {"tenant_id": str(space.tenant_id)}
    assert (await internal.get(path, params=parameters, headers=person)).status_code == 401


async def test_services_ask_who_has_a_role(space: Space, agnes: Person, ada: Person) -> None:
    everybody = (await space.ask("booking", "accounts")).json()["accounts"]
    admins = (await space.ask("booking", "accounts", role="admin")).json()["accounts"]

    assert {one["id"] for one in everybody} == {str(space.admin_id), str(ada.account_id)}
    assert [one["id"] for one in admins] == [str(space.admin_id)]
    assert "email" not in admins[0]


async def test_keys_rotate_with_an_overlap(space: Space) -> None:
    identity = space.identity.service
    secrecy, now = identity.settings.secrecy, utc_now()

    async with identity.database.transaction() as session:
        assert not await rotate_if_old(session, secrecy, days=30, now=now)
        assert await rotate_if_old(session, secrecy, days=30, now=now + timedelta(days=31))
        kept = (await session.execute(_KEYS)).all()
        assert len(kept) == 2
        # The old key outlives the last token it signed.
        assert kept[0].retires_at - kept[1].signs_from == OVERLAP
        await delete_retired(session, now=now + timedelta(days=32))
        assert len((await session.execute(_KEYS)).all()) == 1
        await session.rollback()
