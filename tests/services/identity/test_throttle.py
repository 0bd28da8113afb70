"""What failures of some cost others: nothing, where these were let in before."""

from services.identity.throttle import Counters, count_failure
from shared.db import utc_now
from tests.services.identity.door import PASSWORD, Space
from tests.support.testing import Person

# All members of a space come from one public address; the tests' client is there too.
HOUSE = "127.0.0.1"


async def fail(space: Space, email: str, *, times: int) -> None:
    secrecy = space.identity.service.settings.secrecy
    counters = Counters.of(secrecy, tenant=str(space.tenant_id), email=email, address=HOUSE)
    async with space.identity.database.transaction(space.tenant_id) as session:
        for _ in range(times):
            await count_failure(session, counters, now=utc_now())


async def test_a_visitor_locks_nobody_out_who_was_let_in_from_the_same_address(space: Space, ada: Person) -> None:
    await fail(space, "visitor@example.com", times=60)

    assert (await space.sign_in("ada@example.com")).status_code == 201
    confirmed = await ada.put("/sessions/current/confirmation", {"password": PASSWORD})
    assert confirmed.status_code == 200, confirmed.text
    # Whoever was never let in from here waits.
    assert (await space.sign_in("ben@example.com")).status_code == 429


async def test_who_was_let_in_before_is_still_held_up_by_their_own_failures(space: Space, ada: Person) -> None:
    await fail(space, "ada@example.com", times=8)

    assert (await space.sign_in("ada@example.com")).status_code == 429
