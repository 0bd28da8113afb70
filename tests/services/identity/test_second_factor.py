"""What somebody is told when their second factor is got around: by a recovery code, or by taking it away."""

from shared.events.identity import SecurityAlerted, SecurityKind
from tests.services.identity.door import PASSWORD, Space
from tests.services.identity.test_credentials import add_factor, code
from tests.services.identity.test_sessions import happenings
from tests.support.testing import Person


async def alerts(space: Space) -> list[SecurityKind]:
    return [one.kind for one in await space.identity.published(SecurityAlerted, space.tenant_id)]


async def test_a_recovery_code_at_the_door_is_logged_and_mailed(space: Space, ada: Person) -> None:
    _, codes = await add_factor(ada)

    assert (await space.sign_in("ada@example.com", code=codes[0])).status_code == 201

    assert (await happenings(ada))[:2] == ["signed_in", "recovery_code_used"]
    assert await alerts(space) == [SecurityKind.RECOVERY_CODE_USED]


async def test_a_recovery_code_at_a_step_up_is_logged_and_mailed(space: Space, ada: Person) -> None:
    _, codes = await add_factor(ada)

    confirmed = await ada.put("/sessions/current/confirmation", {"password": PASSWORD, "code": codes[0]})

    assert confirmed.status_code == 200, confirmed.text
    assert (await happenings(ada))[:2] == ["confirmed", "recovery_code_used"]
    assert await alerts(space) == [SecurityKind.RECOVERY_CODE_USED]


async def test_codes_of_the_app_and_wrong_ones_are_no_recovery_codes(space: Space, ada: Person) -> None:
    secret, _ = await add_factor(ada)

    assert (await space.sign_in("ada@example.com", code="AAAAA-AAAAA")).json()["code"] == "wrong_code"
    assert (await space.sign_in("ada@example.com", code=code(secret, steps=1))).status_code == 201

    assert "recovery_code_used" not in await happenings(ada)
    assert await alerts(space) == []


async def test_who_loses_the_second_factor_is_told_by_mail(space: Space, ada: Person) -> None:
    await add_factor(ada)

    assert (await ada.delete("/second-factor")).status_code == 204

    assert (await happenings(ada))[0] == "second_factor_removed"
    assert await alerts(space) == [SecurityKind.SECOND_FACTOR_REMOVED]
