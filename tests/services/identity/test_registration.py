"""Becoming a member: by registration or invitation."""

import asyncio
import time

from services.identity.actions.registration import activate
from services.identity.models import Account
from shared.db import utc_now
from shared.events.identity import AccountRegistered, LinkPurpose
from tests.services.identity.door import PASSWORD, Space
from tests.support.testing import Person


async def test_a_member_registers_with_address_and_password_only(space: Space) -> None:
    answer = await space.at_door("accounts", {"email": "Ada@Example.com", "password": PASSWORD})

    assert answer.status_code == 202
    assert answer.json() == {"status": "check_your_mail"}
    token = await space.token("ada@example.com", LinkPurpose.VERIFY_EMAIL)
    assert (await space.sign_in("ada@example.com")).status_code == 401
    verified = await space.at_door("verifications", {"token": token, "password": PASSWORD})
    assert verified.status_code == 204, verified.text
    ada = await space.signed_in("ada@example.com")
    registered = (await space.identity.published(AccountRegistered, space.tenant_id))[-1]
    assert registered.account_id == ada.account_id
    assert registered.language == "fr"


async def test_a_known_address_gets_the_same_answer_and_another_mail(space: Space, ada: Person) -> None:
    unknown = await space.at_door("accounts", {"email": "new@example.com", "password": PASSWORD})
    known = await space.at_door("accounts", {"email": "ada@example.com", "password": PASSWORD})

    assert (known.status_code, known.content) == (unknown.status_code, unknown.content)
    mail = await space.mailed("ada@example.com", LinkPurpose.ALREADY_REGISTERED)
    assert "token" not in mail["url"]


async def test_answers_take_the_same_time_whether_or_not_the_address_is_known(space: Space, ada: Person) -> None:
    async def seconds(email: str, path: str, body: dict[str, str]) -> float:
        started = time.perf_counter()
        await space.at_door(path, {"email": email, **body})
        return time.perf_counter() - started

    for path, body in (("accounts", {"password": PASSWORD}), ("password-resets", {})):
        known = min([await seconds("ada@example.com", path, body) for _ in range(3)])
        unknown = min([await seconds("nobody@example.com", path, body) for _ in range(3)])
        assert abs(known - unknown) < 0.05


async def test_an_address_belongs_to_whoever_knows_the_password_of_the_verified_registration(space: Space) -> None:
    await space.at_door("accounts", {"email": "ada@example.com", "password": "Intruder-Waiting-77!"})
    intruders = await space.token("ada@example.com", LinkPurpose.VERIFY_EMAIL)
    await space.at_door("accounts", {"email": "ada@example.com", "password": PASSWORD})
    own = await space.token("ada@example.com", LinkPurpose.VERIFY_EMAIL)

    clicked = await space.at_door("verifications", {"token": intruders, "password": PASSWORD})
    assert clicked.status_code == 401
    assert (await space.at_door("verifications", {"token": own, "password": PASSWORD})).status_code == 204
    late = await space.at_door("verifications", {"token": intruders, "password": "Intruder-Waiting-77!"})
    assert late.status_code == 410
    assert (await space.sign_in("ada@example.com", "Intruder-Waiting-77!")).status_code == 401


async def test_two_verifications_at_once_make_one_account(space: Space) -> None:
    tokens = []
    for _ in range(2):
        await space.at_door("accounts", {"email": "ada@example.com", "password": PASSWORD})
        tokens.append(await space.token("ada@example.com", LinkPurpose.VERIFY_EMAIL))

    bodies = [{"token": token, "password": PASSWORD} for token in tokens]
    answers = await asyncio.gather(*(space.at_door("verifications", body) for body in bodies))

    assert sorted(answer.status_code for answer in answers) == [204, 410]
    assert len(await space.rows("SELECT 1 FROM accounts WHERE email = 'ada@example.com'")) == 1


async def test_a_link_opens_once_and_only_for_what_it_was_made_for(space: Space, ada: Person) -> None:
    await space.at_door("password-resets", {"email": "ada@example.com"})
    token = await space.token("ada@example.com", LinkPurpose.RESET_PASSWORD)

    assert (await space.at_door("email-confirmations", {"token": token})).status_code == 410
    assert (await space.at_door("email-confirmations", {"token": "A" * 64})).status_code == 410
    body = {"token": token, "new_password": "Saffron-Quince-58?"}
    assert (await space.at_door("password", body, method="PUT")).status_code == 204
    assert (await space.at_door("password", body, method="PUT")).status_code == 410


async def test_nobody_fills_a_strangers_mailbox(space: Space) -> None:
    for _ in range(8):
        answer = await space.at_door("accounts", {"email": "victim@example.com", "password": PASSWORD})
        assert answer.status_code == 202

    assert len(await space.rows("SELECT 1 FROM links WHERE email = 'victim@example.com'")) == 5


async def test_registrations_by_others_use_up_no_resets(space: Space, ada: Person) -> None:
    for _ in range(6):
        await space.at_door("accounts", {"email": "ada@example.com", "password": PASSWORD})

    await space.at_door("password-resets", {"email": "ada@example.com"})

    await space.token("ada@example.com", LinkPurpose.RESET_PASSWORD)


async def test_bad_registrations_are_refused_without_repeating_them(space: Space) -> None:
    bad = await space.at_door("accounts", {"email": "not-an-address", "password": PASSWORD})
    assert bad.status_code == 422
    assert bad.json()["errors"] == [{"pointer": "/body/email", "code": "value_error"}]
    assert "not-an-address" not in bad.text
    unknown = await space.public.post(
        "/tenants/nowhere/accounts", json={"email": "a@example.com", "password": PASSWORD}
    )
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_tenant")


async def test_an_invited_member_chooses_a_password_and_belongs(space: Space, agnes: Person) -> None:
    invited = await agnes.post("/invitations", {"email": "ines@example.com", "roles": ["member", "manager"]})
    assert invited.status_code == 201, invited.text
    token = await space.token("ines@example.com", LinkPurpose.INVITATION)

    weak = await space.at_door("invitation-acceptances", {"token": token, "password": "Short-42!"})
    assert weak.json()["reasons"] == ["too_short"]
    accepted = await space.at_door("invitation-acceptances", {"token": token, "password": PASSWORD})
    assert accepted.status_code == 204
    assert set((await space.sign_in("ines@example.com")).json()["roles"]) == {"member", "manager"}
    again = await agnes.post("/invitations", {"email": "ines@example.com"})
    assert again.json()["code"] == "already_member"


async def test_who_is_invited_and_registers_too_becomes_a_member_once(space: Space, agnes: Person) -> None:
    await agnes.post("/invitations", {"email": "ines@example.com"})
    first = await space.token("ines@example.com", LinkPurpose.INVITATION)
    await space.at_door("accounts", {"email": "ines@example.com", "password": PASSWORD})
    second = await space.token("ines@example.com", LinkPurpose.INVITATION)
    assert first != second

    bodies = [{"token": token, "password": PASSWORD} for token in (second, first)]
    assert (await space.at_door("invitation-acceptances", bodies[0])).status_code == 204
    assert (await space.at_door("invitation-acceptances", bodies[1])).status_code == 410
    # Even a link that is open leads a member to no second profile.
    await space.rows("UPDATE links SET used_at = NULL WHERE email = 'ines@example.com' RETURNING 1")
    assert (await space.at_door("invitation-acceptances", bodies[1])).status_code == 410


async def test_an_invitation_that_is_being_accepted_is_not_replaced(space: Space, agnes: Person) -> None:
    invited = (await agnes.post("/invitations", {"email": "ines@example.com"})).json()
    async with space.identity.database.transaction(space.tenant_id) as session:
        account = await session.get_one(Account, invited["id"], with_for_update=True)
        late = asyncio.create_task(agnes.post("/invitations", {"email": "ines@example.com", "roles": ["manager"]}))
        await space.blocked(1)
        await activate(session, account, now=utc_now())

    assert (await late).json()["code"] == "already_member"
    ((roles,),) = await space.rows("SELECT roles FROM accounts WHERE email = 'ines@example.com'")
    assert roles == ["member"]


async def test_a_withdrawn_invitation_leads_nowhere(space: Space, agnes: Person, ada: Person) -> None:
    invited = (await agnes.post("/invitations", {"email": "ines@example.com"})).json()
    token = await space.token("ines@example.com", LinkPurpose.INVITATION)

    assert (await ada.delete(f"/invitations/{invited['id']}")).status_code == 403
    assert (await agnes.delete(f"/invitations/{invited['id']}")).status_code == 204
    body = {"token": token, "password": PASSWORD}
    assert (await space.at_door("invitation-acceptances", body)).status_code == 410
