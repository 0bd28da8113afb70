"""Erasing accounts and a whole tenant, deleting files and sweeping what is past its date, while processes end."""

import asyncio
from uuid import UUID, uuid4

from tests.faults.killing import kill_at
from tests.faults.scenarios import Run, scenario
from tests.support.spaces import PASSWORD, Space, crowd, open_space

EACH = 20
ERASING = ("erasure.after_tombstone", "erasure.before_receipt")
ERASERS = ("booking", "feed", "helpdesk", "notify")
IN_BATCHES = ("tenant.before_commit", "tenant.after_commit")
SWEEPING = ("sweep.before_commit", "sweep.after_commit")
LEAVERS = 6
CROWD = 1000
COMPLETED_SECONDS = 300


@scenario("crash-erasure")
async def crash_erasure(run: Run) -> None:
    """Members leave; each service ends with the tombstone laid, and with everything erased but nothing answered."""
    space = run.ground.space
    accounts = await crowd(space, LEAVERS)
    space.alma = await space.client.sign_in(space.alma.email, PASSWORD)
    cases = asyncio.create_task(_leave(space, accounts))
    times = run.times(EACH // len(ERASERS), short=1)
    await asyncio.gather(*(kill_at(run, service, "worker", ERASING, times=times, latest=1) for service in ERASERS))
    for case_id in await cases:
        await space.completed(case_id, seconds=COMPLETED_SECONDS)
    left = await space.suite.query("feed", "SELECT FROM posts WHERE author_id = ANY($1)", accounts)
    if left:
        run.complaints.append(f"{len(left)} posts still name who has left")


async def _leave(space: Space, accounts: list[UUID]) -> list[str]:
    cases = []
    for account_id in accounts:
        url = f"/identity/v1/accounts/{account_id}/deactivation"
        answer = await space.client.call("PUT", url, {"content": "remove"}, by=space.alma)
        cases.append(str(answer["case_id"]))
    return cases


@scenario("crash-tenant-batch")
async def crash_tenant_batch(run: Run) -> None:
    """Another tenant goes; identity and feed end in each batch, before and after its commit."""
    other = await open_space(run.suite)
    times = run.times(EACH // 2, short=1)
    accounts = await crowd(other, CROWD * times)
    answer = await other.client.call(
        "PUT", "/identity/v1/tenant/deactivation", {"confirmation": other.slug}, by=other.alma
    )
    hurrying = asyncio.create_task(_hurry(run, "feed", "identity"))
    killing = (kill_at(run, name, "worker", IN_BATCHES, times=times, latest=1) for name in ("feed", "identity"))
    await asyncio.gather(*killing)
    hurrying.cancel()
    await other.completed(answer["case_id"], seconds=COMPLETED_SECONDS)
    for service, held in (("identity", "accounts WHERE id"), ("feed", "posts WHERE author_id")):
        left = await run.suite.query(service, f"SELECT count(*) AS n FROM {held} = ANY($1)", accounts)
        if left[0]["n"]:
            run.complaints.append(f"{service} still names {left[0]['n']} people of the tenant")


@scenario("crash-cleaner")
async def crash_cleaner(run: Run) -> None:
    """The nightly sweep and the deletion of files end before and after their commits, and begin again."""
    await _let_fall_due(run)
    hurrying = asyncio.create_task(_hurry(run, "notify", "feed", sweep=True))
    times = run.times(EACH, short=2)
    await asyncio.gather(
        kill_at(run, "notify", "worker", SWEEPING, times=times),
        kill_at(run, "feed", "worker", ("erasure.after_files",), times=times, latest=1),
    )
    past_due = "SELECT (SELECT count(*) FROM notices WHERE created_at < now() - interval '300 days') AS n"
    for _ in range(300):
        files = await run.suite.query("feed", "SELECT FROM file_deletions")
        if not files and not (await run.suite.query("notify", past_due))[0]["n"]:
            break
        await asyncio.sleep(0.1)
    else:
        run.complaints.append("something past its date is still there")
    hurrying.cancel()


async def _let_fall_due(run: Run) -> None:
    old = (
        "INSERT INTO notices (id, tenant_id, account_id, event_id, kind, about, created_at) SELECT gen_random_uuid(), $1,"
        " $2, gen_random_uuid(), 'security', '{}', now() - interval '400 days' FROM generate_series(1, 3000) RETURNING id"
    )
    await run.suite.query("notify", old, run.ground.space.tenant_id, UUID(run.ground.space.alma.account_id))
    paths = [f"fault-{uuid4().hex}" for _ in range(600)]
    await run.suite.query("feed", "INSERT INTO file_deletions (path) SELECT unnest($1::text[]) RETURNING id", paths)


async def _hurry(run: Run, *services: str, sweep: bool = False) -> None:
    """Let a killed worker's claims run out at once, and the night begin again and again: the clock is what is short."""
    due = "UPDATE scheduled_jobs SET due_at = now(), claimed_until = NULL WHERE name = ANY($1) RETURNING name"
    names = ["erase_tenants", "delete_erased_files", *(["sweep_past_due"] if sweep else [])]
    while True:
        for service in services:
            await run.suite.query(service, due, names)
        await asyncio.sleep(1)
