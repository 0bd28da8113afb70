"""The demo space: whatever interrupts its making, the next start goes on, makes nothing twice, and serves meanwhile."""

import stat
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from deploy.cli.run import _seed
from deploy.demo import seed as making
from deploy.demo.client import Client
from deploy.demo.seed import DOMAIN, SLUG, seed_demo
from deploy.embedded.provision import Names
from deploy.embedded.suite import EmbeddedSuite
from services.notify.api import outbox_token

pytestmark = pytest.mark.timeout(900)
# As few as the steps can do with: every one of them is made.
PEOPLE = 12
# In the middle of the members, of their reservations, of the posts, of what they buy, and of the payments.
CUTS = (3, 40, 30, 60, 30)


class Interrupted(Exception):
    """Somebody has pressed Ctrl-C."""


class Impatient(Client):
    """Counts what is made, and is interrupted after so many calls that make something."""

    left = 0

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        if method == "POST" and not path.endswith("/sessions"):
            if Impatient.left <= 0:
                raise Interrupted
            Impatient.left -= 1
        return await super().call(method, path, body, **more)


@pytest.fixture
async def suite(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EmbeddedSuite]:
    monkeypatch.setattr(making, "NAMES", making.NAMES[:PEOPLE])
    with tempfile.TemporaryDirectory(prefix="cowork-demo-") as name:
        Path(name).chmod(0o755)
        (Path(name) / "files").mkdir(mode=0o755)
        running = EmbeddedSuite(Path(name), port=0, durable=False)
        await running.start()
        yield running
        await running.stop()


async def seed(suite: EmbeddedSuite, *, calls: int) -> int:
    """Go on with the space; return how many calls that make something are left of `calls`. Raises Interrupted."""
    Impatient.left = calls
    await seed_demo(
        partial(client_of, suite),
        password=suite.secrets.demo_password,
        operator_secret=suite.secrets.operator_secret,
        say=lambda *_: None,
    )
    return Impatient.left


def client_of(suite: EmbeddedSuite, session: aiohttp.ClientSession) -> Client:
    token = outbox_token(suite.secrets.digest_keys["notify"])
    return Impatient(lambda _: suite.url, session, slug=SLUG, outbox_token=token)


async def rows(suite: EmbeddedSuite, service: str, table: str) -> int:
    connection = await asyncpg.connect(suite.postgres.admin_url, database=Names.of(service).database)
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))
    finally:
        await connection.close()


async def test_what_was_interrupted_is_gone_on_with(suite: EmbeddedSuite, capsys: Any) -> None:
    assert stat.S_IMODE((suite.folder / "files").stat().st_mode) == 0o700
    for calls in CUTS:
        with pytest.raises(Interrupted):
            await seed(suite, calls=calls)
        # The link of an invitation that was not accepted is spent as soon as the next one is made.
        async with aiohttp.ClientSession() as session:
            await client_of(suite, session).mailed_token(f"member01@{DOMAIN}")
    assert await _seed(suite), "the start that completes it says the password"
    assert (suite.folder / "seeded").exists()
    expected = {
        ("identity", "accounts"): PEOPLE + 1,
        ("booking", "locations"): 2,
        ("booking", "resources"): 6,
        ("booking", "reservations"): PEOPLE,
        ("feed", "posts"): PEOPLE + 1,
        ("feed", "comments"): PEOPLE,
        ("helpdesk", "tickets"): 10,
        ("helpdesk", "replies"): 10,
        ("helpdesk", "notes"): 10,
        ("billing", "prices"): 3,
        ("billing", "orders WHERE origin = 'purchase'"): PEOPLE,
        ("billing", "quotes"): 3,
    }
    assert {key: await rows(suite, *key) for key in expected} == expected
    assert await seed(suite, calls=1) == 0, "the space is asked for, and nothing is made"

    secrets = suite.secrets
    (suite.folder / "seeded").unlink()
    suite.secrets = replace(secrets, demo_password="Another-password-7!")
    assert not await _seed(suite), "somebody else's space: its password is not ours to say"
    suite.secrets = replace(secrets, operator_secret="not the operator's, by any means")
    assert await _seed(suite), "a refusal is said and keeps nobody from being served"
    assert not (suite.folder / "seeded").exists()
    said = capsys.readouterr().err
    assert "opens with another password" in said
    assert "the demo space is not complete: POST /identity/v1/tenants: 403" in said
