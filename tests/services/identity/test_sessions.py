"""Signing in, the tokens that come of it, and where one is signed in."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import jwt

from services.identity.actions.accounts import get_account, set_roles
from services.identity.actions.credentials import demand_new_password
from services.identity.origin import Origin
from services.identity.throttle import Counters, check_patience, count_failure
from shared.auth import ALGORITHM, AUDIENCE, ISSUER
from shared.db import utc_now
from shared.events.identity import Role, SecurityAlerted, SecurityKind, SessionsRevoked
from tests.services.identity.door import PASSWORD, SAFARI, Space
from tests.support.testing import Person


async def refreshed(space: Space, token: str) -> Any:
    return await space.public.post("/tokens", json={"refresh_token": token})


async def stepped_up(person: Person) -> Person:
    answer = await person.put("/sessions/current/confirmation", {"password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return replace(person, token=answer.json()["access_token"])


async def happenings(person: Person) -> list[str]:
    """What the person's security log tells, newest first."""
    return [one["happening"] for one in (await person.get("/security-log")).json()["data"]]


async def test_an_access_token_says_who_where_and_what(space: Space) -> None:
    tokens = (await space.sign_in(space.admin_email)).json()

    keys = (await space.public.get("/jwks.json")).json()["keys"]
    key_id = jwt.get_unverified_header(tokens["access_token"])["kid"]
    (key,) = [jwt.PyJWK(key) for key in keys if key["kid"] == key_id]
    claims = jwt.decode(tokens["access_token"], key, algorithms=[ALGORITHM], audience=AUDIENCE, issuer=ISSUER)
    assert claims["sub"] == tokens["account_id"] == str(space.admin_id)
    assert claims["tid"] == str(space.tenant_id)
    assert claims["sid"] == tokens["session_id"]
    assert claims["roles"] == ["admin", "member"]
    assert claims["exp"] - claims["iat"] == 300
    assert claims["restricted"] is False


async def test_unknown_address_and_wrong_password_get_the_same_answer(space: Space, ada: Person) -> None:
    unknown = await space.sign_in("nobody@example.com")
    wrong = await space.sign_in("ada@example.com", "Another-Guess-12!")

    assert unknown.status_code == wrong.status_code == 401
    assert unknown.json()["code"] == wrong.json()["code"] == "wrong_credentials"
    foreign = await space.public.post("/tenants/elsewhere/sessions", json={"email": "a@example.com", "password": "x"})
    assert foreign.status_code == 404


async def test_an_account_opens_its_own_tenant_only(space: Space, open_space: Any, ada: Person) -> None:
    other = await open_space()
    assert (await other.sign_in("ada@example.com")).status_code == 401


async def test_guessing_is_slowed_down_for_the_guesser_and_not_for_a_known_device(space: Space, ada: Person) -> None:
    answers = [(await space.sign_in("ben@example.com", "Wrong-Guess-99!")) for _ in range(8)]

    assert answers[0].status_code == 401
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert answers[-1].json()["retry_after"] >= 1
    # Others from the same address go on.
    assert (await space.sign_in("ada@example.com")).status_code == 201


async def test_somebody_else_elsewhere_cannot_lock_a_known_device_out(space: Space, ada: Person) -> None:
    async with space.identity.database.transaction(space.tenant_id) as session:
        secrecy, now = space.identity.service.settings.secrecy, utc_now()
        attacker = Counters.of(secrecy, tenant=str(space.tenant_id), email="ada@example.com", address="203.0.113.9")
        for _ in range(60):
            await count_failure(session, attacker, now=now)
        own = Counters.of(secrecy, tenant=str(space.tenant_id), email="ada@example.com", address="127.0.0.1")
        await check_patience(session, own, now=now)
        # An unknown device waits, but never longer than half a minute.
        new = Counters.of(secrecy, tenant=str(space.tenant_id), email="ada@example.com", address="198.51.100.7")
        await check_patience(session, new, now=now + timedelta(seconds=31))
    assert (await space.sign_in("ada@example.com")).status_code == 201


async def test_a_refresh_token_rotates_and_its_parent_gets_the_same_successor_for_a_while(space: Space) -> None:
    first = (await space.sign_in(space.admin_email)).json()["refresh_token"]

    second = (await refreshed(space, first)).json()["refresh_token"]
    again = (await refreshed(space, first)).json()["refresh_token"]

    assert second == again != first
    assert (await refreshed(space, second)).status_code == 201


async def test_fifty_parallel_refreshes_log_nobody_out(space: Space) -> None:
    token = (await space.sign_in(space.admin_email)).json()["refresh_token"]

    answers = await asyncio.gather(*(refreshed(space, token) for _ in range(50)))

    assert {answer.status_code for answer in answers} == {201}
    (successor,) = {answer.json()["refresh_token"] for answer in answers}
    assert (await refreshed(space, successor)).status_code == 201


async def test_a_reused_token_ends_the_session_everywhere_and_tells_its_owner(space: Space, ada: Person) -> None:
    tokens = (await space.sign_in("ada@example.com")).json()
    stolen = tokens["refresh_token"]
    second = (await refreshed(space, stolen)).json()["refresh_token"]
    third = (await refreshed(space, second)).json()["refresh_token"]

    assert (await refreshed(space, stolen)).status_code == 401
    assert (await refreshed(space, third)).status_code == 401
    assert (await space.person(tokens).get("/profile")).status_code == 401
    revoked = (await space.identity.published(SessionsRevoked, space.tenant_id))[-1]
    assert [str(one) for one in revoked.session_ids] == [tokens["session_id"]]
    alerts = await space.identity.published(SecurityAlerted, space.tenant_id)
    assert alerts[-1].kind is SecurityKind.REFRESH_TOKEN_REUSED
    # Her other session goes on.
    assert (await ada.get("/profile")).status_code == 200


async def test_the_grace_ends_after_thirty_seconds(space: Space) -> None:
    tokens = (await space.sign_in(space.admin_email)).json()
    await refreshed(space, tokens["refresh_token"])
    await space.rows(
        "UPDATE sessions SET rotated_at = rotated_at - interval '31 seconds' WHERE id = :id RETURNING 1",
        id=tokens["session_id"],
    )

    assert (await refreshed(space, tokens["refresh_token"])).status_code == 401


async def test_a_made_up_token_for_a_real_session_does_not_end_it(space: Space) -> None:
    tokens = (await space.sign_in(space.admin_email)).json()
    forged = tokens["refresh_token"][:60] + "A" * (len(tokens["refresh_token"]) - 60)

    assert (await refreshed(space, forged)).json()["code"] == "session_ended"
    assert (await refreshed(space, tokens["refresh_token"])).status_code == 201


async def test_a_member_sees_and_ends_their_sessions(space: Space, ada: Person, ben: Person) -> None:
    phone = await space.signed_in("ada@example.com", device=SAFARI)
    listed = (await ada.get("/sessions")).json()["data"]
    assert {(one["device"], one["is_current"]) for one in listed} == {
        ("Firefox · Linux", True),
        ("Safari · iOS", False),
    }
    (other,) = [one["id"] for one in listed if not one["is_current"]]

    assert (await ben.delete(f"/sessions/{other}")).status_code == 404
    assert (await ada.delete(f"/sessions/{other}")).status_code == 204

    assert (await phone.get("/profile")).status_code == 401
    assert (await ada.delete(f"/sessions/{uuid4()}")).status_code == 404


async def test_all_other_sessions_end_at_once(space: Space, ada: Person) -> None:
    others = [await space.signed_in("ada@example.com") for _ in range(3)]

    assert (await ada.delete("/sessions")).status_code == 204

    assert [(await one.get("/profile")).status_code for one in others] == [401, 401, 401]
    assert (await ada.get("/profile")).status_code == 200


async def test_a_new_kind_of_device_is_announced_once(space: Space, ada: Person) -> None:
    await space.signed_in("ada@example.com")
    assert not await space.identity.published(SecurityAlerted, space.tenant_id)

    await space.signed_in("ada@example.com", device=SAFARI)
    await space.signed_in("ada@example.com", device=SAFARI)

    alerts = await space.identity.published(SecurityAlerted, space.tenant_id)
    assert [(one.account_id, one.kind) for one in alerts] == [(ada.account_id, SecurityKind.NEW_SIGN_IN)]


async def test_the_security_log_is_read_in_pages_by_its_owner(space: Space, ada: Person, ben: Person) -> None:
    await space.sign_in("ada@example.com", "Wrong-Guess-99!")
    await space.sign_in("ada@example.com")

    first = (await ada.get("/security-log", params={"limit": 2})).json()
    second = (await ada.get("/security-log", params={"limit": 2, "cursor": first["next_cursor"]})).json()

    happened = [one["happening"] for one in first["data"] + second["data"]]
    assert happened == ["signed_in", "sign_in_failed", "signed_in"]
    assert [one["happening"] for one in (await ben.get("/security-log")).json()["data"]] == ["signed_in"]


async def test_step_up_asks_for_the_password_again(space: Space, ada: Person) -> None:
    stale = await space.signed_in_an_hour_ago("ada@example.com")
    body = {"new_email": "ada@new.example.com"}
    refused = await stale.post("/email-changes", body)
    assert (refused.status_code, refused.json()["code"]) == (403, "step_up_required")

    wrong = await stale.put("/sessions/current/confirmation", {"password": "Wrong-Guess-99!"})
    assert wrong.json()["code"] == "wrong_password"
    fresh = await stepped_up(stale)
    assert (await fresh.post("/email-changes", body)).status_code == 202


async def test_a_step_up_does_not_lift_a_demand_for_a_new_password(space: Space, agnes: Person, ada: Person) -> None:
    await agnes.put(f"/accounts/{ada.account_id}/password-demand")

    refused = await (await stepped_up(ada)).get("/profile")

    assert (refused.status_code, refused.json()["code"]) == (403, "password_expired")


async def test_a_step_up_does_not_evade_an_expired_password(space: Space, agnes: Person) -> None:
    await space.rows(
        "UPDATE accounts SET password_changed_at = now() - interval '366 days' WHERE id = :id RETURNING 1",
        id=space.admin_id,
    )

    assert (await (await stepped_up(agnes)).get("/accounts")).json()["code"] == "password_expired"


async def test_a_step_up_brings_the_roles_of_the_account(space: Space, agnes: Person, ada: Person) -> None:
    assert (await ada.get("/accounts")).status_code == 403
    await agnes.put(f"/accounts/{ada.account_id}/roles", {"roles": ["member", "admin"]}, etag="*")

    assert (await (await stepped_up(ada)).get("/accounts")).status_code == 200


async def test_a_session_that_has_run_out_cannot_be_stepped_up(space: Space, ada: Person) -> None:
    await space.rows("UPDATE sessions SET expires_at = now() - interval '1 minute' RETURNING 1")

    refused = await ada.put("/sessions/current/confirmation", {"password": PASSWORD})

    assert (refused.status_code, refused.json()["code"]) == (401, "session_ended")
    assert "confirmed" not in await happenings(ada)


async def test_a_new_password_demanded_during_a_sign_in_is_asked_for_by_it(space: Space, ada: Person) -> None:
    async with space.identity.database.transaction(space.tenant_id) as session:
        await demand_new_password(session, await get_account(session, ada.account_id))
        signing_in = asyncio.create_task(space.sign_in("ada@example.com"))
        await space.blocked(1)

    assert (await signing_in).json()["is_restricted"] is True
    assert (await space.sign_in("ada@example.com")).json()["is_restricted"] is True


async def test_a_role_taken_during_a_sign_in_is_not_in_its_token(space: Space, agnes: Person, ada: Person) -> None:
    path, origin = f"/accounts/{ada.account_id}/roles", Origin.of(SAFARI, "203.0.113.9")
    await agnes.put(path, {"roles": ["member", "manager"]}, etag="*")
    async with space.identity.database.transaction(space.tenant_id) as session:
        account = await get_account(session, ada.account_id, for_update=True)
        await set_roles(session, account, {Role.MEMBER}, origin=origin, now=utc_now())
        signing_in = asyncio.create_task(space.sign_in("ada@example.com"))
        await space.blocked(1)

    assert (await signing_in).json()["roles"] == ["member"]


async def test_the_ends_of_sessions_are_in_the_security_log(space: Space, ada: Person) -> None:
    tokens = (await space.sign_in("ada@example.com", device=SAFARI)).json()
    assert (await ada.delete(f"/sessions/{tokens['session_id']}")).status_code == 204
    tokens = (await space.sign_in("ada@example.com", device=SAFARI)).json()
    phone = space.person(tokens)

    # All others at once, which is told once, then its own.
    assert (await phone.delete("/sessions")).status_code == 204
    assert (await phone.delete("/sessions")).status_code == 204
    assert (await phone.delete(f"/sessions/{tokens['session_id']}")).status_code == 204

    later = await space.signed_in("ada@example.com")
    ended = ["signed_out", "session_revoked", "signed_in", "session_revoked"]
    assert await happenings(later) == ["signed_in", *ended, "signed_in", "signed_in"]


async def test_nothing_opens_without_a_token(space: Space) -> None:
    for path in ("/profile", "/members", "/sessions", "/security-log", "/accounts", "/tenant"):
        assert (await space.public.get(path)).status_code == 401
        forged = {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."}
        assert (await space.public.get(path, headers=forged)).status_code == 401
