"""The change of address, and how its owner takes an account back from a thief."""

import asyncio
from typing import Any

from shared.events.identity import LinkPurpose
from tests.services.identity.door import PASSWORD, Space
from tests.services.identity.test_credentials import NEW, add_factor
from tests.support.testing import Person


async def ask(person: Person, new_email: str) -> Any:
    return await person.post("/email-changes", {"new_email": new_email})


async def change_address(space: Space, person: Person, new_email: str) -> None:
    assert (await ask(person, new_email)).status_code == 202
    token = await space.token(new_email, LinkPurpose.CONFIRM_NEW_EMAIL)
    confirmed = await space.at_door("email-confirmations", {"token": token})
    assert confirmed.status_code == 204, confirmed.text


async def undo(space: Space, token: str) -> int:
    return (await space.at_door("email-change-undos", {"token": token})).status_code


async def reset(space: Space, email: str, password: str) -> Any:
    token = await space.token(email, LinkPurpose.RESET_PASSWORD)
    return await space.at_door("password", {"token": token, "new_password": password}, method="PUT")


async def stolen_twice(space: Space, ada: Person) -> tuple[str, str]:
    """A thief moves Ada's account to an address, then to another; return the undo links of hers and of the thief's."""
    await change_address(space, ada, "thief1@example.com")
    await change_address(space, ada, "thief2@example.com")
    purpose = LinkPurpose.UNDO_EMAIL_CHANGE
    return await space.token("ada@example.com", purpose), await space.token("thief1@example.com", purpose)


async def test_an_address_changes_when_the_new_one_confirms_and_the_old_one_is_told(space: Space, ada: Person) -> None:
    assert (await ask(ada, "ada@new.example.com")).status_code == 202
    assert (await space.sign_in("ada@new.example.com")).status_code == 401
    token = await space.token("ada@new.example.com", LinkPurpose.CONFIRM_NEW_EMAIL)

    assert (await space.at_door("email-confirmations", {"token": token})).status_code == 204

    assert (await space.sign_in("ada@new.example.com")).status_code == 201
    assert (await space.sign_in("ada@example.com")).status_code == 401
    mail = await space.mailed("ada@example.com", LinkPurpose.UNDO_EMAIL_CHANGE)
    assert mail["email"] == "ada@example.com"


async def test_the_old_address_takes_the_account_back(space: Space, ada: Person) -> None:
    await change_address(space, ada, "thief@example.com")

    assert await undo(space, await space.token("ada@example.com", LinkPurpose.UNDO_EMAIL_CHANGE)) == 204

    assert (await ada.get("/profile")).status_code == 401
    assert (await space.sign_in("ada@example.com")).status_code == 401
    assert (await reset(space, "ada@example.com", NEW)).status_code == 204
    assert (await space.sign_in("ada@example.com", NEW)).status_code == 201


async def test_an_undo_leaves_the_thief_no_undo_of_his_own(space: Space, ada: Person) -> None:
    hers, his = await stolen_twice(space, ada)

    assert await undo(space, hers) == 204

    assert await undo(space, his) == 410
    assert (await reset(space, "ada@example.com", NEW)).status_code == 204
    assert (await space.sign_in("ada@example.com", NEW)).status_code == 201


async def test_the_thiefs_undo_does_not_spend_the_owners(space: Space, ada: Person) -> None:
    hers, his = await stolen_twice(space, ada)

    assert await undo(space, his) == 204

    stolen = await space.token("thief1@example.com", LinkPurpose.RESET_PASSWORD)
    assert await undo(space, hers) == 204
    body = {"token": stolen, "new_password": NEW}
    assert (await space.at_door("password", body, method="PUT")).status_code == 410


async def test_two_undos_at_once_do_not_hold_each_other_up(space: Space, ada: Person) -> None:
    hers, his = await stolen_twice(space, ada)

    answers = await asyncio.gather(undo(space, hers), undo(space, his))

    assert answers in ([204, 410], [204, 204])
    ((email,),) = await space.rows("SELECT email FROM accounts WHERE id = :id", id=ada.account_id)
    assert email == "ada@example.com"


async def test_who_has_changed_the_address_back_can_still_undo_what_the_thief_did(space: Space, ada: Person) -> None:
    await change_address(space, ada, "thief@example.com")
    hers = await space.token("ada@example.com", LinkPurpose.UNDO_EMAIL_CHANGE)
    await change_address(space, ada, "ada@example.com")
    his = await space.token("thief@example.com", LinkPurpose.UNDO_EMAIL_CHANGE)

    assert await undo(space, hers) == 204

    assert await undo(space, his) == 410


async def test_an_undo_takes_away_what_was_laid_since_the_change(space: Space, ada: Person) -> None:
    await change_address(space, ada, "thief@example.com")
    await add_factor(ada)
    await ask(ada, "thief2@example.com")
    pending = await space.token("thief2@example.com", LinkPurpose.CONFIRM_NEW_EMAIL)

    assert await undo(space, await space.token("ada@example.com", LinkPurpose.UNDO_EMAIL_CHANGE)) == 204

    assert (await space.at_door("email-confirmations", {"token": pending})).status_code == 410
    assert not await space.rows("SELECT 1 FROM email_changes")
    assert not await space.rows("SELECT 1 FROM recovery_codes")
    # The password that the thief knew is not chosen again.
    assert (await reset(space, "ada@example.com", PASSWORD)).json()["reasons"] == ["used_before"]
    assert (await reset(space, "ada@example.com", NEW)).status_code == 204
    assert (await space.sign_in("ada@example.com", NEW)).status_code == 201


async def test_an_undo_leaves_the_second_factor_that_was_there_before(space: Space, ada: Person) -> None:
    await add_factor(ada)
    await change_address(space, ada, "thief@example.com")

    assert await undo(space, await space.token("ada@example.com", LinkPurpose.UNDO_EMAIL_CHANGE)) == 204

    assert (await reset(space, "ada@example.com", NEW)).status_code == 204
    assert (await space.sign_in("ada@example.com", NEW)).json()["code"] == "second_factor_required"


async def traces(space: Space, person: Person) -> list[Any]:
    """What somebody finds of a change in their security log and in an export."""
    queries = (
        "SELECT happening FROM security_entries WHERE account_id = :id ORDER BY id",
        "SELECT purpose, used_at IS NULL FROM links WHERE account_id = :id ORDER BY id",
        "SELECT confirmed_at FROM email_changes WHERE account_id = :id",
    )
    return [[tuple(row) for row in await space.rows(query, id=person.account_id)] for query in queries]


async def test_a_taken_address_is_not_given_away_nor_revealed(space: Space, ada: Person, ben: Person) -> None:
    taken = await ask(ada, space.admin_email)
    free = await ask(ben, "free@example.com")

    assert (taken.status_code, taken.content) == (free.status_code, free.content)
    assert await traces(space, ada) == await traces(space, ben)
    # Only whoever reads the mail, and so has the address, is told.
    token = await space.token(space.admin_email, LinkPurpose.CONFIRM_NEW_EMAIL)
    refused = await space.at_door("email-confirmations", {"token": token})
    assert (refused.status_code, refused.json()["remedy"]) == (410, "sign_in_with_this_address")
    assert (await space.signed_in(space.admin_email)).account_id == space.admin_id


async def test_nobody_mails_many_addresses_or_one_address_often(space: Space, ada: Person, ben: Person) -> None:
    for number in range(5):
        assert (await ask(ada, f"victim{number}@example.com")).status_code == 202
    too_many = await ask(ada, "victim5@example.com")
    assert (too_many.status_code, too_many.json()["code"]) == (429, "too_many_attempts")
    assert int(too_many.headers["Retry-After"]) == 3600

    await space.rows(
        "UPDATE links SET email = 'victim@example.com' WHERE account_id = :id RETURNING 1", id=ada.account_id
    )
    assert (await ask(ben, "victim@example.com")).status_code == 429
    assert (await ask(ben, "ben@new.example.com")).status_code == 202
