"""The policy: in both languages at a stable address, in force from its day on, announced before."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.privacy.actions import policies
from shared.db import utc_now, uuid7
from shared.events.identity import Language, TenantRegistered
from shared.events.privacy import PolicyPublished

# A day is between -12 and +14 hours of UTC somewhere: two days on it has begun nowhere.
NOW, LATER = utc_now().date() - timedelta(days=1), utc_now().date() + timedelta(days=2)


def version(words: str, *, effective_on: Any = NOW, is_material: bool = True) -> dict[str, Any]:
    return {"body_fr": words, "body_en": words, "effective_on": effective_on.isoformat(), "is_material": is_material}


async def test_every_space_has_a_policy_in_both_languages_at_a_stable_address(office: Any) -> None:
    url = f"/tenants/{office.slug}/policy"
    first = await office.privacy.public.get(url)
    assert first.status_code == 200
    assert "CNIL" in first.json()["body_fr"]
    page = await office.privacy.public.get(url, headers={"Accept": "text/html", "Accept-Language": "fr"})
    assert "<h1>Politique de confidentialité</h1>" in page.text
    assert "<script" not in page.text
    assert (await office.ada.post("/policies", version("New"))).status_code == 403
    assert (await office.dora.post("/policies", version("New"))).json()["number"] == 2
    assert (await office.privacy.public.get(url)).json()["body_en"] == "New"
    assert (await office.privacy.public.get(f"{url}/1")).json() == first.json()
    for missing in (f"{url}/7", f"{url}/0", f"{url}/99999999999", "/tenants/nowhere/policy"):
        assert (await office.privacy.public.get(missing)).status_code == 404
    assert len(await office.privacy.published(PolicyPublished, office.tenant)) == 2


async def test_both_languages_say_that_tickets_are_kept_until_they_are_closed(office: Any) -> None:
    policy = (await office.privacy.public.get(f"/tenants/{office.slug}/policy")).json()
    assert "tickets and requests once they are closed" in policy["body_en"]
    assert "les tickets et les demandes une fois clos" in policy["body_fr"]


async def test_a_material_change_asks_to_accept_again(office: Any) -> None:
    assert (await office.ada.get("/acceptance")).json() == {"must_accept": True, "latest": 1, "coming": None}
    assert (await office.ada.put("/acceptance", {"number": 1})).json()["must_accept"] is False
    await office.dora.post("/policies", version("2", is_material=False))
    assert (await office.ada.get("/acceptance")).json()["must_accept"] is False
    await office.dora.post("/policies", version("3"))
    assert (await office.ada.get("/acceptance")).json() == {"must_accept": True, "latest": 3, "coming": None}
    assert (await office.ada.put("/acceptance", {"number": 9})).status_code == 404


async def test_a_version_is_announced_until_its_day_comes(office: Any) -> None:
    await office.ada.put("/acceptance", {"number": 1})
    await office.dora.post("/policies", version("Soon", effective_on=LATER))
    url = f"/tenants/{office.slug}/policy"
    shown, announced = (await office.privacy.public.get(url)).json(), {"number": 2, "effective_on": LATER.isoformat()}
    assert (shown["number"], shown["coming"]) == (1, {**announced, "is_material": True})
    page = await office.privacy.public.get(url, headers={"Accept": "text/html"})
    assert f'<a href="policy/2">A new version takes effect on {LATER}.</a>' in page.text
    assert (await office.privacy.public.get(f"{url}/2")).json()["body_en"] == "Soon"
    asked = (await office.ada.get("/acceptance")).json()
    assert asked == {"must_accept": False, "latest": 1, "coming": shown["coming"]}
    async with office.privacy.database.transaction(office.tenant) as session:
        in_force = await policies.policy_in_force(session, today=LATER)
        assert in_force.number == 2
        assert await policies.find_coming_policy(session, in_force, today=LATER) is None
        assert await policies.must_accept(session, office.ada.account_id, today=LATER)
    assert (await office.ada.put("/acceptance", {"number": 2})).status_code == 200, "one may accept beforehand"
    async with office.privacy.database.transaction(office.tenant) as session:
        assert not await policies.must_accept(session, office.ada.account_id, today=LATER)


async def test_what_comes_next_is_what_will_be_in_force(office: Any) -> None:
    for days in (9, 3, 5):
        await office.dora.post("/policies", version(f"in {days} days", effective_on=LATER + timedelta(days=days)))
    async with office.privacy.database.transaction(office.tenant) as session:
        seen = []
        for days in range(11):
            today = LATER + timedelta(days=days)
            in_force = await policies.policy_in_force(session, today=today)
            coming = await policies.find_coming_policy(session, in_force, today=today)
            seen.append((in_force.number, coming.number if coming else None))
    # The fourth version was published last: once it has begun, the second one's day changes nothing.
    assert seen == [(1, 3)] * 3 + [(3, 4)] * 2 + [(4, None)] * 6


async def test_before_any_version_has_begun_the_first_is_shown_and_none_demanded(office: Any) -> None:
    await office.dora.post("/policies", version("2", effective_on=LATER))
    async with office.privacy.database.transaction(office.tenant) as session:
        long_ago = LATER - timedelta(days=100)
        in_force = await policies.policy_in_force(session, today=long_ago)
        assert in_force.number == 1
        assert not await policies.must_accept(session, office.ada.account_id, today=long_ago)


@pytest.mark.parametrize("zone", ["Etc/GMT+12", "Pacific/Kiritimati"])
async def test_a_day_begins_where_the_space_is(office: Any, zone: str) -> None:
    tenant_id = uuid7()
    language = {"languages": [Language.FR], "default_language": Language.FR}
    slug = f"far-{tenant_id.hex[-8:]}"
    await office.privacy.receive(TenantRegistered(tenant_id=tenant_id, slug=slug, time_zone=zone, **language))
    # At any time, it is another day than that of UTC in one of the two.
    begins = await office.privacy.rows("SELECT effective_on FROM policies", tenant_id)
    assert [row.effective_on for row in begins] == [utc_now().astimezone(ZoneInfo(zone)).date()]
    member = office.privacy.person(tenant_id)
    assert (await member.get("/acceptance")).json() == {"must_accept": True, "latest": 1, "coming": None}


async def test_a_version_takes_effect_on_the_spaces_own_day(office: Any) -> None:
    async with office.privacy.database.transaction(office.tenant) as session:
        late = datetime(2026, 12, 31, 23, 30, tzinfo=UTC)
        assert await policies.local_day(session, late) == date(2027, 1, 1)
