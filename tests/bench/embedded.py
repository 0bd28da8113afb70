"""`python -m tests.bench.embedded FOLDER`: start the embedded suite, erase a person in it, print the bytes it then holds."""

import asyncio
import json
import sys
from pathlib import Path
from uuid import UUID

import aiohttp
import asyncpg
import uvloop

from deploy.demo.client import Client
from deploy.embedded.provision import Names
from deploy.embedded.suite import EmbeddedSuite
from services.notify.api import outbox_token
from shared import logging
from shared.events import SERVICES
from tests.support.postbox import Postbox

PASSWORD = "a long password that nobody guesses 7"
EMAIL = "ada@example.com"
WAIT_SECONDS = 60


async def main(folder: Path) -> None:
    postbox = Postbox().start()
    mail = {"smtp_host": "127.0.0.1", "smtp_starttls": False, "smtp_port": postbox.port}
    suite = EmbeddedSuite(folder, port=0, overrides={"notify": mail})
    await suite.start()
    async with aiohttp.ClientSession() as http, asyncio.timeout(WAIT_SECONDS):
        token = outbox_token(suite.secrets.digest_keys["notify"])
        await _erase_somebody(Client(lambda _: suite.url, http, slug="loft", outbox_token=token), suite)
    sys.stdout.write(json.dumps({"bytes": suite.memory_bytes()}) + "\n")
    await suite.stop()
    postbox.stop()


async def _erase_somebody(client: Client, suite: EmbeddedSuite) -> None:
    for name in ("boss@example.com", EMAIL):
        await _join(client, suite, name)
    ada = await client.sign_in(EMAIL, PASSWORD)
    await client.call("POST", "/feed/v1/posts", {"body": "Hello"}, by=ada)
    await client.call("POST", "/helpdesk/v1/tickets", {"subject": "Badge", "body": "Closed."}, by=ada)
    case = await client.call("PUT", f"/identity/v1/accounts/{ada.account_id}/deactivation", {}, by=ada)
    await _receipts(suite, UUID(case["case_id"]))


async def _receipts(suite: EmbeddedSuite, case_id: UUID) -> None:
    admin = await asyncpg.connect(suite.postgres.admin_url, database=Names.of("privacy").database)
    answered = "SELECT count(*) FROM answers WHERE case_id = $1 AND outcome IS NOT NULL"
    while await admin.fetchval(answered, case_id) < len(SERVICES):
        await asyncio.sleep(0.1)
    await admin.close()


async def _join(client: Client, suite: EmbeddedSuite, email: str) -> None:
    """The first one opens the space, the others register in it."""
    account = {"email": email, "password": PASSWORD}
    if email != EMAIL:
        headers = {"Operator-Secret": suite.secrets.operator_secret}
        body = {"slug": client.slug, "name": "Loft", "admin": account}
        await client.call("POST", "/identity/v1/tenants", body, headers=headers)
        return
    door = f"/identity/v1/tenants/{client.slug}"
    await client.call("POST", f"{door}/accounts", account)
    token = await client.mailed_token(email)
    await client.call("POST", f"{door}/verifications", {"token": token, "password": PASSWORD})


if __name__ == "__main__":
    logging.configure("bench", level="ERROR")
    uvloop.run(main(Path(sys.argv[1])))
