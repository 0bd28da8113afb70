"""The version before with the same data: what a newer version has migrated is left alone, and everybody says so."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.backup.places import LEDGER, Place, connected
from deploy.doctor.examination import examine
from deploy.doctor.findings import EXIT_CODES
from services.privacy.ledger.database import upgrade_ledger
from shared.events import SERVICES
from shared.migrate import ROOT, upgrade
from tests.support.commands import cowork
from tests.support.patient import NOWHERE, environment

FUTURE = "of_next_year"
# A right of the application role that migrations renew.
RENEWED = {"feed": "posts", LEDGER: "runs"}


@asynccontextmanager
async def newer(address: str) -> AsyncIterator[None]:
    """A newer version has migrated a database, for as long as the body lasts."""
    change = "UPDATE alembic_version SET version_num = $1 WHERE version_num = $2"
    async with connected(address) as owner:
        known = await owner.fetchval("SELECT max(version_num) FROM alembic_version")
        await owner.execute(change, FUTURE, known)
        yield
        await owner.execute(change, known, FUTURE)


async def may_write(address: str, table: str) -> bool:
    app = "current_user::text || '_app'"
    async with connected(address) as owner:
        return bool(
            await owner.fetchval(
                f"SELECT has_table_privilege(replace({app}, '_owner_app', '_app'), $1, 'INSERT')", table
            )
        )


@pytest.mark.parametrize("name", ["feed", LEDGER])
async def test_what_a_newer_version_has_migrated_is_left_alone(urls: Any, name: str) -> None:
    address, table = urls[name].owner, RENEWED[name]
    migrate = upgrade_ledger if name == LEDGER else lambda url: upgrade(name, url)
    async with connected(address) as owner:
        app = (await owner.fetchval("SELECT current_user::text")).removesuffix("_owner") + "_app"
        await owner.execute(f"REVOKE ALL ON {table} FROM {app}")
    async with newer(address):
        assert not await migrate(address)
        assert not await may_write(address, table), "its rights are the newer version's to give"
    assert await migrate(address), "on the way forward it is migrated as ever"
    assert await may_write(address, table)


async def test_the_command_goes_on_with_a_newer_database_and_says_so(place: Place) -> None:
    owners = {f"COWORK_{name.upper()}_OWNER_URL": address for name, address in place.owners.items()}
    async with newer(place.owners["feed"]), newer(place.owners[LEDGER]):
        done = await asyncio.to_thread(cowork, "migrate", **owners)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert said.count("newer_left_alone") == 2
    assert FUTURE in said


def configured(urls: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The environment of feed and privacy: their settings, and every owner's address."""
    variables = {f"COWORK_{name.upper()}_OWNER_URL": urls[name].owner for name in (*SERVICES, LEDGER)}
    for name in ("FEED", "PRIVACY"):
        variables[f"COWORK_{name}_DATABASE_URL"] = urls[name.lower()].app
        variables |= {f"COWORK_{name}_{secret}": f"{secret}-{name}" * 8 for secret in ("CLIENT_SECRET", "DIGEST_KEY")}
    variables |= {"COWORK_PRIVACY_LEDGER_KEY": "k" * 48, "COWORK_PRIVACY_LEDGER_URL": urls[LEDGER].app}
    return variables | {"COWORK_FILES_URL": folder.as_uri(), "COWORK_INTERNAL_URLS": json.dumps({})}


@pytest.mark.parametrize(("name", "check"), [("feed", "migrations"), (LEDGER, "ledger")])
async def test_the_doctor_calls_the_way_back_a_warning(urls: Any, tmp_path: Path, name: str, check: str) -> None:
    with environment(configured(urls, tmp_path)):
        async with newer(urls[name].owner):
            report = await examine(NOWHERE, "en", names=[check], fixes=True)
    (found,) = [one for one in report.findings if one.about in ([], ["feed"])]
    assert (found.code, found.facts["revisions"], EXIT_CODES[found.level]) == ("beyond", [FUTURE], 3)
    assert "the version before works with the same data" in (found.remedy or "")
    assert report.repairs == [], "there is nothing to mend"


def test_the_readme_says_what_the_doctor_says() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "The way back is the version before with the same data: it leaves a database that a newer one" in readme
