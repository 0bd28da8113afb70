"""The end of an account and of a space: announced, commanded, erased; nobody comes back."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx

from services.identity.actions.deactivations import command_due
from services.identity.actions.expiry import INACTIVE, NOTICE, deactivate_inactive, warn_inactive
from services.identity.models import Base
from shared.db import utc_now
from shared.events.erasure import RECEIPTS, Outcome
from shared.events.identity import (
    AccountDeactivated,
    AccountInactivityWarned,
    ContentChoice,
    DeactivationReason,
    LinkPurpose,
    TenantDeactivated,
)
from shared.events.notify import LinkSettled, MailOutcome
from shared.privacy import retention
from tests.services.identity.door import PASSWORD, Space, profile
from tests.services.identity.test_credentials import NEW, add_factor, change
from tests.services.identity.test_members import photo
from tests.support.testing import Person

ACCOUNT_ERASED, TENANT_ERASED, _ = RECEIPTS["identity"]


async def end(caller: Person, account_id: UUID, *, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key or uuid4().hex}
    return await caller.put(f"/accounts/{account_id}/deactivation", body, headers=headers)


async def commanded(space: Space) -> list[Any]:
    async with space.identity.database.transaction(space.tenant_id) as session:
        await command_due(session, now=utc_now())
    return await space.identity.published(AccountDeactivated, space.tenant_id)


async def erase(space: Space, event: AccountDeactivated) -> None:
    await space.identity.receive(event)
    await space.identity.run_job("delete_erased_files")


async def counts(space: Space, account_id: UUID | None = None) -> Mapping[str, int]:
    """Rows per table, of one account or of the whole tenant."""
    found = {}
    for table in Base.metadata.sorted_tables:
        if "tenant_id" not in table.columns:
            continue
        owner = "id" if table.name == "accounts" else "account_id"
        if owner not in table.columns:
            continue
        condition = f"WHERE {owner} = :id" if account_id else ""
        parameters = {"id": account_id} if account_id else {}
        ((found[table.name],),) = await space.rows(f"SELECT count(*) FROM {table.name} {condition}", **parameters)
    return found


async def fill_every_table(space: Space, person: Person) -> None:
    """Leave a row of this person wherever identity can hold one."""
    filled = profile(first_name="Ada", last_name="Martin", phone="+33123456789", skills=["Rust"], department="R&D")
    assert (await person.put("/profile", filled, etag='"1"')).status_code == 200
    await person.put("/profile/picture", files={"picture": ("me.jpg", photo(), "image/jpeg")})
    assert (await change(person, NEW)).status_code == 204
    await add_factor(person)
    assert (await person.post("/email-changes", {"new_email": "ada@new.example.com"})).status_code == 202


async def test_an_own_deactivation_is_announced_with_an_unguessable_address(space: Space, ada: Person) -> None:
    answer = await end(ada, ada.account_id, content="keep")

    assert answer.status_code == 202, answer.text
    case = answer.json()
    assert case["stage"] == "announced"
    assert answer.headers["Location"] == case["case_url"]
    assert case["case_url"].endswith(f"/api/privacy/v1/cases/{case['case_id']}")
    assert UUID(case["case_id"]).version == 4
    mail = await space.mailed("ada@example.com", LinkPurpose.DEACTIVATION)
    assert mail["url"] == case["case_url"]
    # Signed out, hidden, and not written to any more.
    assert (await ada.get("/profile")).status_code == 401
    assert (await space.sign_in("ada@example.com")).status_code == 401
    assert (await space.ask("notify", f"contacts/{ada.account_id}")).status_code == 410
    assert await space.labels(ada.account_id) == {str(ada.account_id): {"text": "Membre", "url": None}}


async def test_the_event_follows_the_mail_and_is_published_once(space: Space, ada: Person) -> None:
    case = (await end(ada, ada.account_id, content="keep")).json()
    async with space.identity.database.transaction(space.tenant_id) as session:
        assert await command_due(session, now=utc_now() - timedelta(minutes=1)) == 0
    mail = await space.mailed("ada@example.com", LinkPurpose.DEACTIVATION)
    settled = LinkSettled(
        tenant_id=space.tenant_id, link_id=mail["link_id"], account_id=ada.account_id, outcome=MailOutcome.SENT
    )

    for _ in range(2):
        await space.identity.receive(settled)
    (event,) = await commanded(space)

    assert (event.account_id, str(event.case_id)) == (ada.account_id, case["case_id"])
    assert event.reason is DeactivationReason.OWN_REQUEST
    assert event.content is ContentChoice.KEEP


async def test_the_job_commands_what_no_mail_settled_in_time(space: Space, ada: Person) -> None:
    await end(ada, ada.account_id)
    await space.identity.run_job("command_due_deactivations")
    (event,) = await space.identity.published(AccountDeactivated, space.tenant_id)
    assert event.account_id == ada.account_id


async def test_erasure_leaves_nothing_of_a_member_and_everything_of_others(
    space: Space, ada: Person, ben: Person
) -> None:
    await fill_every_table(space, ada)
    bens = await space.rows("SELECT * FROM accounts WHERE id = :id", id=ben.account_id)
    others = await counts(space, ben.account_id)
    await end(ada, ada.account_id)
    before = await counts(space, ada.account_id)
    assert all(count for table, count in before.items() if table != "sessions"), before

    (event,) = await commanded(space)
    await erase(space, event)

    assert set((await counts(space, ada.account_id)).values()) == {0}
    assert await counts(space, ben.account_id) == others
    assert await space.rows("SELECT * FROM accounts WHERE id = :id", id=ben.account_id) == bens
    assert [key async for key in space.identity.service.files.keys(f"{space.tenant_id}")] == []
    (receipt,) = await space.identity.published(ACCOUNT_ERASED, space.tenant_id)
    assert receipt.outcome is Outcome.DONE
    told = {entry.rule: entry.count for entry in receipt.counts}
    assert {table: told.get(table, 0) for table in before} == before


async def test_who_is_erased_is_gone_for_services_and_can_come_again_as_somebody_new(
    space: Space, agnes: Person, ada: Person
) -> None:
    tokens = (await space.sign_in("ada@example.com")).json()
    await end(ada, ada.account_id)
    mail_link = (await space.mailed("ada@example.com", LinkPurpose.DEACTIVATION))["link_id"]
    (event,) = await commanded(space)
    await erase(space, event)

    assert (await space.ask("notify", f"contacts/{ada.account_id}")).status_code == 410
    assert (await space.ask("notify", f"links/{mail_link}")).status_code == 410
    assert await space.labels(ada.account_id) == {}
    refreshed = await space.public.post("/tokens", json={"refresh_token": tokens["refresh_token"]})
    assert refreshed.status_code == 401
    assert (await ada.get("/profile")).status_code == 410
    again = await space.join("ada@example.com")
    assert again.account_id != ada.account_id


async def test_an_erased_administrator_is_no_longer_named_on_others_rows(space: Space, agnes: Person) -> None:
    await agnes.post("/invitations", {"email": "ines@example.com", "roles": ["admin", "member"]})
    token = await space.token("ines@example.com", LinkPurpose.INVITATION)
    await space.at_door("invitation-acceptances", {"token": token, "password": PASSWORD})
    ines = await space.signed_in("ines@example.com")

    assert (await end(ines, space.admin_id)).status_code == 202
    (event,) = await commanded(space)
    assert event.reason is DeactivationReason.BY_ADMIN
    await erase(space, event)

    assert await space.rows("SELECT invited_by FROM accounts WHERE id = :id", id=ines.account_id) == [(None,)]
    refused = await end(ines, ines.account_id)
    assert refused.json()["code"] == "last_administrator"


async def test_who_may_end_an_account(space: Space, agnes: Person, ada: Person, ben: Person) -> None:
    assert (await end(ben, ada.account_id)).json()["code"] == "role_required"
    missing = await agnes.put(f"/accounts/{ada.account_id}/deactivation", {})
    assert missing.json()["code"] == "idempotency_key_required"
    assert (await end(agnes, ada.account_id, content="burn")).status_code == 422
    first = await end(agnes, ada.account_id, key="once", content="keep")
    again = await end(agnes, ada.account_id, key="once", content="keep")
    assert (first.status_code, again.json()) == (202, first.json())
    assert (await end(agnes, ada.account_id, key="once", content="remove")).status_code == 422
    assert (await end(agnes, ada.account_id)).json()["code"] == "already_deactivating"
    (event,) = await commanded(space)
    await erase(space, event)
    replayed = await end(agnes, ada.account_id, key="once", content="keep")
    assert (replayed.json()["case_id"], replayed.json()["stage"]) == (first.json()["case_id"], "commanded")


async def test_an_invitation_is_withdrawn_not_deactivated(space: Space, agnes: Person) -> None:
    body = {"email": "ines@example.com", "roles": ["admin", "member"]}
    invited = (await agnes.post("/invitations", body)).json()

    refused = await end(agnes, invited["id"])

    assert (refused.status_code, refused.json()["code"]) == (409, "invitation_pending")
    assert refused.json()["remedy"] == "withdraw_the_invitation"
    # She may still accept, and whoever withdraws it leaves nothing behind.
    assert await space.token("ines@example.com", LinkPurpose.INVITATION)
    assert (await agnes.delete(f"/invitations/{invited['id']}")).status_code == 204
    assert set((await counts(space, invited["id"])).values()) == {0}
    assert await commanded(space) == []


async def cool_off(agnes: Person, days: int) -> None:
    settings = (await agnes.get("/tenant")).json()
    body = {name: value for name, value in settings.items() if name not in ("tenant_id", "slug", "version")}
    assert (await agnes.put("/tenant", {**body, "cooling_off_days": days}, etag="*")).status_code == 200


async def test_signing_in_again_undoes_an_own_deactivation_while_it_cools_off(
    space: Space, agnes: Person, ada: Person
) -> None:
    await cool_off(agnes, 7)
    answer = (await end(ada, ada.account_id)).json()
    assert answer["stage"] == "cooling_off"
    assert await commanded(space) == []
    assert (await space.sign_in("ada@example.com", "Wrong-Guess-99!")).status_code == 401

    back = await space.signed_in("ada@example.com")

    assert (await back.get("/profile")).status_code == 200
    async with space.identity.database.transaction(space.tenant_id) as session:
        assert await command_due(session, now=utc_now() + timedelta(days=8)) == 0


async def test_the_cooling_off_ends_on_its_day(space: Space, agnes: Person, ada: Person) -> None:
    await cool_off(agnes, 7)
    await end(ada, ada.account_id)
    async with space.identity.database.transaction(space.tenant_id) as session:
        assert await command_due(session, now=utc_now() + timedelta(days=6)) == 0
        assert await command_due(session, now=utc_now() + timedelta(days=7, minutes=1)) == 1


async def test_only_an_administrator_undoes_an_administrators_deactivation(
    space: Space, agnes: Person, ada: Person
) -> None:
    await cool_off(agnes, 7)
    await end(agnes, ada.account_id)
    assert (await space.sign_in("ada@example.com")).status_code == 401
    assert (await agnes.get(f"/accounts/{ada.account_id}/deactivation")).json()["reason"] == "by_admin"

    assert (await agnes.delete(f"/accounts/{ada.account_id}/deactivation")).status_code == 204

    assert (await space.sign_in("ada@example.com")).status_code == 201
    assert (await agnes.delete(f"/accounts/{ada.account_id}/deactivation")).json()["code"] == "not_deactivating"


async def test_a_member_unseen_for_two_years_is_warned_then_deactivated(space: Space, ada: Person, ben: Person) -> None:
    now = utc_now()
    await space.rows(
        "UPDATE accounts SET last_seen_at = :then WHERE id <> :ben RETURNING 1",
        then=now - INACTIVE + NOTICE - timedelta(hours=1),
        ben=ben.account_id,
    )
    day_of_the_end = now + NOTICE + timedelta(days=1)
    async with space.identity.database.transaction(space.tenant_id) as session:
        assert await warn_inactive(session, now=now) == 2
        assert await warn_inactive(session, now=now) == 0
        assert await deactivate_inactive(session, settle=timedelta(), now=now) == 0
        # Agnes, the last administrator, stays.
        assert await deactivate_inactive(session, settle=timedelta(), now=day_of_the_end) == 1
    warned = await space.identity.published(AccountInactivityWarned, space.tenant_id)
    assert {one.deactivates_on for one in warned} == {(now + NOTICE).date()}
    async with space.identity.database.transaction(space.tenant_id) as session:
        await command_due(session, now=day_of_the_end)
    (event,) = await space.identity.published(AccountDeactivated, space.tenant_id)
    assert (event.account_id, event.reason) == (ada.account_id, DeactivationReason.INACTIVE)


async def end_space(caller: Person, confirmation: str) -> httpx.Response:
    body = {"confirmation": confirmation}
    return await caller.put("/tenant/deactivation", body, headers={"Idempotency-Key": uuid4().hex})


async def test_a_whole_space_ends_by_one_event_and_without_mails(
    space: Space, open_space: Any, agnes: Person, ada: Person
) -> None:
    elsewhere = await open_space()
    await fill_every_table(space, ada)
    untouched = await counts(elsewhere)
    assert (await end_space(ada, space.slug)).status_code == 403
    assert (await end_space(agnes, "other")).json()["code"] == "wrong_confirmation"
    links = await space.rows("SELECT count(*) FROM links")

    answer = await end_space(agnes, space.slug)

    assert answer.status_code == 202, answer.text
    (event,) = await space.identity.published(TenantDeactivated, space.tenant_id)
    assert (str(event.case_id), event.accounts) == (answer.json()["case_id"], 2)
    assert await space.rows("SELECT count(*) FROM links") == links
    assert (await space.sign_in(space.admin_email)).status_code == 404
    await space.identity.receive(event)
    await space.identity.run_job("erase_tenants")
    await space.identity.run_job("delete_erased_files")
    await space.identity.run_job("erase_tenants")
    assert set((await counts(space)).values()) == {0}
    assert await counts(elsewhere) == untouched
    (receipt,) = await space.identity.published(TENANT_ERASED, space.tenant_id)
    assert (receipt.outcome, receipt.accounts) == (Outcome.DONE, 2)
    assert not await space.identity.published(AccountDeactivated, space.tenant_id)


async def test_what_is_past_its_date_goes_in_the_nightly_sweep(space: Space, ada: Person) -> None:
    await space.at_door("accounts", {"email": "never@example.com", "password": PASSWORD})
    await space.rows(
        "UPDATE accounts SET created_at = now() - interval '8 days' WHERE state = 'unverified' RETURNING 1"
    )
    await space.rows("UPDATE security_entries SET happened_at = now() - interval '13 months' RETURNING 1")
    await space.rows("UPDATE sessions SET expires_at = now() - interval '1 minute' RETURNING 1")
    service = space.identity.service

    await retention.sweep(service.database, service.manifest, now=utc_now())

    assert not await space.rows("SELECT 1 FROM accounts WHERE email = 'never@example.com'")
    assert not await space.rows("SELECT 1 FROM links WHERE email = 'never@example.com'")
    left = await counts(space)
    assert (left["security_entries"], left["sessions"], left["accounts"]) == (0, 0, 2)


async def test_an_export_carries_every_field_but_secrets(space: Space, ada: Person) -> None:
    await fill_every_table(space, ada)

    exported = (await space.ask("notify", f"exports/{ada.account_id}")).json()

    assert exported["tables"]["profiles"]["rows"][0]["phone"] == "+33 1 23 45 67 89"
    assert exported["tables"]["accounts"]["rows"][0]["email"] == "ada@example.com"
    assert "password_hash" not in exported["tables"]["accounts"]["rows"][0]
    assert "sealed_secret" not in exported["tables"]["second_factors"]["rows"][0]
    assert len(exported["files"]) == 1
