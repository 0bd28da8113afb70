"""Passwords and the second factor."""

import asyncio
import base64
from datetime import timedelta
from typing import Any

import pytest

from services.identity import totp
from services.identity.actions.expiry import warn_of_expiring_passwords
from services.identity.actions.sessions import end_sessions
from services.identity.models import Account
from services.identity.password_rules import weaknesses
from shared.db import utc_now
from shared.events.identity import LinkPurpose, PasswordExpiring, SecurityAlerted, SecurityKind
from tests.services.identity.door import PASSWORD, Space
from tests.support.testing import Person

NEW = "Saffron-Quince-58?"


@pytest.mark.parametrize(
    "password",
    [
        "Violet-Rhubarb-42!",
        "KoalaGuitare7Nuages",
        "un bateau vert danse sous trois lunes froides",
        "m5#Tq9!vLz2@",
    ],
)
def test_passwords_of_each_cnil_case_are_accepted(password: str) -> None:
    own = ["ada@example.com", "Ada", "Martin"]
    assert weaknesses(password, min_length=12, own_words=own, tenant_words=["loft", "Loft République"]) == []


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("m5#Tq9!vLz2", "too_short"),
        ("koalaguitare7", "too_few_classes"),
        ("Password-2026!", "common"),
        ("P@ssw0rd12345!", "common"),
        ("Azerty123456!!", "common"),
        ("Republique-2026!", "common"),
        ("Ada.Martin-2026!", "like_your_identity"),
        ("aaaaaaaaaaA1!", "common"),
        ("Xy1!" + "z9Q?" * 70, "too_long"),
    ],
)
def test_weak_passwords_are_refused_with_their_reason(password: str, reason: str) -> None:
    own = ["ada.martin@example.com", "Ada", "Martin"]
    found = weaknesses(password, min_length=12, own_words=own, tenant_words=["loft", "République"])
    assert reason in found


async def change(person: Person, new: str, current: str = PASSWORD) -> Any:
    return await person.put("/password", {"current_password": current, "new_password": new})


async def test_a_new_password_replaces_the_old_and_ends_other_sessions(space: Space, ada: Person) -> None:
    other = await space.signed_in("ada@example.com")

    assert (await change(ada, NEW, "Wrong-Guess-99!")).json()["code"] == "wrong_password"
    assert (await change(ada, NEW)).status_code == 204

    assert (await ada.get("/profile")).status_code == 200
    assert (await other.get("/profile")).status_code == 401
    assert (await space.sign_in("ada@example.com")).status_code == 401
    assert (await space.sign_in("ada@example.com", NEW)).status_code == 201
    alerts = await space.identity.published(SecurityAlerted, space.tenant_id)
    assert alerts[-1].kind is SecurityKind.PASSWORD_CHANGED


async def test_none_of_the_last_five_passwords_comes_back(space: Space, ada: Person) -> None:
    used = [PASSWORD]
    for number in range(5):
        fresh = f"Fresh-Choice-{number}4!"
        assert (await change(ada, fresh, used[-1])).status_code == 204
        used.append(fresh)

    refused = await change(ada, used[1], used[-1])
    assert refused.json()["reasons"] == ["used_before"]
    assert (await change(ada, used[-1], used[-1])).json()["reasons"] == ["used_before"]
    # Six choices ago is long enough.
    assert (await change(ada, PASSWORD, used[-1])).status_code == 204


async def test_a_reset_by_mail_works_once_and_ends_every_session(space: Space, ada: Person) -> None:
    await space.at_door("password-resets", {"email": "ada@example.com"})
    token = await space.token("ada@example.com", LinkPurpose.RESET_PASSWORD)

    weak = await space.at_door("password", {"token": token, "new_password": "Short-42!"}, method="PUT")
    assert weak.json()["code"] == "weak_password"
    done = await space.at_door("password", {"token": token, "new_password": NEW}, method="PUT")

    assert done.status_code == 204
    assert (await ada.get("/profile")).status_code == 401
    assert (await space.sign_in("ada@example.com", NEW)).status_code == 201


async def test_a_change_of_password_that_is_overtaken_by_the_end_of_its_session_fails(
    space: Space, ada: Person
) -> None:
    async with space.identity.database.transaction(space.tenant_id) as session:
        account = await session.get_one(Account, ada.account_id, with_for_update=True)
        late = asyncio.create_task(change(ada, NEW))
        await space.blocked(1)
        await end_sessions(session, account, now=utc_now())

    assert (await late).status_code == 401
    assert (await space.sign_in("ada@example.com", NEW)).status_code == 401
    assert (await space.sign_in("ada@example.com")).status_code == 201


async def test_a_weak_old_password_leads_to_a_session_that_can_only_change_it(space: Space, agnes: Person) -> None:
    ada = await space.join("ada@example.com")
    settings = (await agnes.get("/tenant")).json()
    rules = {"member": {"min_length": 20}}
    changed = await agnes.put("/tenant", {**_editable(settings), "password_rules": rules}, etag='"1"')
    assert changed.status_code == 200, changed.text

    tokens = (await space.sign_in("ada@example.com")).json()
    assert tokens["is_restricted"] is True
    restricted = space.person(tokens)
    refused = await restricted.get("/profile")
    assert (refused.status_code, refused.json()["code"]) == (403, "password_expired")
    assert (await change(restricted, "Longer-Saffron-Quince-58?")).status_code == 204
    renewed = await space.public.post("/tokens", json={"refresh_token": tokens["refresh_token"]})
    assert (await space.person(renewed.json()).get("/profile")).status_code == 200
    assert ada.account_id == restricted.account_id


def _editable(settings: dict[str, Any]) -> dict[str, Any]:
    fixed = {"tenant_id", "slug", "version"}
    return {name: value for name, value in settings.items() if name not in fixed}


async def test_a_password_expires_on_the_day_and_restricts_without_locking_out(space: Space) -> None:
    async def is_restricted(days: int) -> bool:
        await space.rows(
            "UPDATE accounts SET password_changed_at = now() - CAST(:age AS interval) WHERE id = :id RETURNING 1",
            age=timedelta(days=days),
            id=space.admin_id,
        )
        return bool((await space.sign_in(space.admin_email)).json()["is_restricted"])

    # Administrators' passwords live 365 days unless the tenant says otherwise.
    assert not await is_restricted(364)
    assert await is_restricted(365)


async def test_expiry_is_announced_fourteen_seven_and_one_days_before_each_once(space: Space, ada: Person) -> None:
    now = utc_now()
    left = []
    for days in (340, 351, 352, 358, 364):
        await space.rows(
            "UPDATE accounts SET password_changed_at = :then WHERE id = :id RETURNING 1",
            then=now - timedelta(days=days),
            id=space.admin_id,
        )
        for _ in range(2):
            async with space.identity.database.transaction(space.tenant_id) as session:
                left.append(await warn_of_expiring_passwords(session, now=now))
    assert left == [0, 0, 1, 0, 0, 0, 1, 0, 1, 0]
    warned = await space.identity.published(PasswordExpiring, space.tenant_id)
    assert [one.days_left for one in warned] == [14, 7, 1]
    assert {one.account_id for one in warned} == {space.admin_id}


async def test_an_administrator_can_demand_a_new_password(space: Space, agnes: Person, ada: Person) -> None:
    assert (await ada.put(f"/accounts/{ada.account_id}/password-demand")).status_code == 403
    assert (await agnes.put(f"/accounts/{ada.account_id}/password-demand")).status_code == 204

    assert (await space.sign_in("ada@example.com")).json()["is_restricted"] is True


async def add_factor(ada: Person) -> tuple[bytes, list[str]]:
    prepared = (await ada.post("/second-factor")).json()
    secret = base64.b32decode(prepared["secret"])
    codes = await ada.put("/second-factor/confirmation", {"code": code(secret)})
    assert codes.status_code == 200, codes.text
    return secret, codes.json()["codes"]


def code(secret: bytes, *, steps: int = 0) -> str:
    return totp.code_at(secret, int(utc_now().timestamp()) // 30 + steps)


def test_codes_are_those_of_the_standard() -> None:
    # RFC 6238, appendix B, the last six digits.
    secret = b"12345678901234567890"
    assert [totp.code_at(secret, at // 30) for at in (59, 1111111109, 2000000000)] == ["287082", "081804", "279037"]


async def test_a_second_factor_is_asked_for_after_the_right_password_only(space: Space, ada: Person) -> None:
    secret, _ = await add_factor(ada)

    assert (await space.sign_in("ada@example.com", "Wrong-Guess-99!")).json()["code"] == "wrong_credentials"
    assert (await space.sign_in("ada@example.com")).json()["code"] == "second_factor_required"
    assert (await space.sign_in("ada@example.com", code="000000")).json()["code"] == "wrong_code"
    assert (await space.sign_in("ada@example.com", code=code(secret, steps=1))).status_code == 201
    # A code that was watched is of no use.
    assert (await space.sign_in("ada@example.com", code=code(secret, steps=1))).json()["code"] == "wrong_code"


async def test_each_recovery_code_opens_once(space: Space, ada: Person) -> None:
    _, codes = await add_factor(ada)
    assert len(codes) == 10

    assert (await space.sign_in("ada@example.com", code=codes[3].lower())).status_code == 201
    assert (await space.sign_in("ada@example.com", code=codes[3])).json()["code"] == "wrong_code"


async def test_a_second_factor_is_removed_with_a_fresh_sign_in(space: Space, ada: Person) -> None:
    await add_factor(ada)
    assert (await ada.post("/second-factor")).json()["code"] == "second_factor_present"
    assert (await ada.delete("/second-factor")).status_code == 204
    assert (await ada.delete("/second-factor")).json()["code"] == "no_second_factor"
    assert (await space.sign_in("ada@example.com")).status_code == 201
