"""Signing in on the running suite against bare argon2 with the same parameters and as many threads."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher, Type

from services.identity.passwords import WORKERS
from tests.bench.costs import Meter, memory_mb
from tests.bench.figures import Figure, Sample, at_least, bench, hammer, interleaved
from tests.bench.keepalive import KeepAlive
from tests.bench.space import PASSWORD, open_space
from tests.bench.stand import Stand

CLIENTS = 8
# What services/identity/passwords.py asks for; a stored hash names them, and the figure checks that it does.
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)


@bench("login")
async def login(stand: Stand) -> Sequence[Figure]:
    space = await open_space(await stand.suite(), members=CLIENTS)
    client = KeepAlive(space.suite.base_url("identity"))
    path = f"/api/identity/v1/tenants/{space.client.slug}/sessions"
    attempts = [client.prepare("POST", path, {"email": one.email, "password": PASSWORD}) for one in space.members]
    (stored,) = await space.suite.query(
        "identity", "SELECT password_hash FROM accounts WHERE email = $1", space.members[0].email
    )
    if HASHER.check_needs_rehash(stored["password_hash"]):
        raise AssertionError("bare argon2 works with other parameters than the service")
    count, threads = stand.many(240), ThreadPoolExecutor(WORKERS)
    loop = asyncio.get_running_loop()

    async def sign_in() -> Sample:
        return await hammer(count, CLIENTS, lambda n: client.send(attempts[n % CLIENTS], expect=201))

    async def verify() -> Sample:
        digest = stored["password_hash"]
        return await hammer(count, CLIENTS, lambda _: loop.run_in_executor(threads, HASHER.verify, digest, PASSWORD))

    us, bare = await interleaved(sign_in, verify)
    meter = await Meter.of(space.suite)
    await sign_in()
    cost = await meter.spent()
    threads.shutdown()
    figure = Figure(
        f"login, {CLIENTS} clients",
        us.rate,
        "log-ins/s",
        limit=bare.rate,
        ratio=us.rate / bare.rate,
        goals=(at_least("ratio", 0.85),),
        p50_ms=us.percentile_ms(50),
        p99_ms=us.percentile_ms(99),
        rss_mb=memory_mb(space.suite.pids("identity")),
        record="0020",
        notes=cost.notes(count),
    )
    return [figure]
