"""A space on the running suite with the people that a benchmark needs, made through the public API."""

import asyncio
import secrets
from dataclasses import dataclass

from deploy.demo.client import Client, Member
from tests.support.suites import Processes

PASSWORD = "a long password that nobody guesses 7"


@dataclass(frozen=True, slots=True)
class Space:
    suite: Processes
    client: Client
    admin: Member
    members: list[Member]


# They have the administrator's password, whose digest is copied: no mail has to reach them.
JOIN = """
WITH admin AS (SELECT * FROM accounts WHERE email = $1), made AS (
 INSERT INTO accounts (id, tenant_id, email, password_hash, password_changed_at, state, roles, language, created_at, version)
 SELECT gen_random_uuid(), tenant_id, 'member' || n || email, password_hash, now(), 'active', '{member}', 'en', now(), 1
 FROM admin, generate_series(1, $2) n RETURNING tenant_id, id, email)
INSERT INTO profiles (tenant_id, account_id, first_name, last_name, phone, position, department, skills, description,
 in_directory, hidden_fields, search_text, sort_name, version)
SELECT tenant_id, id, 'Ada', email, '', '', '', '{}', '', true, '{}', '', '', 1 FROM made
"""


async def open_space(suite: Processes, *, members: int) -> Space:
    """Register a space with its administrator and this many members, all signed in."""
    slug = f"bench-{secrets.token_hex(4)}"
    client, email = suite.client(slug), f"@{slug}.example.com"
    admin = {"email": f"admin{email}", "password": PASSWORD}
    headers = {"Operator-Secret": suite.secrets.operator_secret}
    await client.call("POST", "/identity/v1/tenants", {"slug": slug, "name": slug, "admin": admin}, headers=headers)
    await suite.query("identity", JOIN, admin["email"], members)
    names = [f"member{n}admin{email}" for n in range(1, members + 1)]
    boss, *signed_in = [await client.sign_in(name, PASSWORD) for name in (admin["email"], *names)]
    for service in ("helpdesk", "billing", "privacy"):
        await _known(suite, service, slug)
    return Space(suite, client, boss, signed_in)


async def _known(suite: Processes, service: str, slug: str) -> None:
    for _ in range(200):
        if await suite.query(service, "SELECT FROM tenants WHERE slug = $1", slug):
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"{service} never heard of {slug}")
