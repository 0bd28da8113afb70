"""What the compose test does, in order: every function is a step; its docstring is what is shown."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

import aiohttp

from deploy.demo.seed import ADMIN, DOMAIN
from shared.events import SERVICES
from tests.compose.engine import PYTHON
from tests.compose.stage import Stage

Step = Callable[[Stage], Awaitable[None]]
STEPS: list[Step] = []
# Without these there is nothing to try.
NEEDED = ("write_secrets", "build_images", "bring_up")
# An image in all, and the official base that it is meant for.
SMALL_MB, OFFICIAL_MB = 250, 122
# What has ended by itself, and what a demonstration shows on loopback beside the gateway.
JOBS = ("provision", "topology", "demo", "ledger-migrate", *(f"{service}-migrate" for service in SERVICES))
PUBLISHED = ("gateway", "mailbox")


def step(function: Step) -> Step:
    STEPS.append(function)
    return function


@step
async def write_secrets(stage: Stage) -> None:
    """cowork init: secret files, nothing printed; a second call changes nothing"""
    first, second = stage.project.cowork("init"), stage.project.cowork("init")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "complete" in second.stderr
    for path in stage.project.secrets.rglob("*"):
        if path.is_file() and not path.name.endswith(".json"):
            assert path.read_text() not in first.stderr + first.stdout


@step
async def build_images(stage: Stage) -> None:
    """docker compose build: one image per service"""
    stage.project.compose("build")


@step
async def bring_up(stage: Stage) -> None:
    """docker compose up --wait: migrations, topology, seven APIs, seven workers, a seeded space"""
    try:
        stage.project.compose("up", "-d", "--wait", "--wait-timeout", "600")
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{stage.project.last_words()}") from error


@step
async def check_hardening(stage: Stage) -> None:
    """every container: non-root, read-only root, no capabilities, no new privileges, limits; one port"""
    for name in stage.project.services():
        _require_hardened(stage, name, is_published=name in PUBLISHED)
        if name not in JOBS:
            tried = stage.project.inside(name, "sh", "-c", "id -u; touch /written")
            assert tried.stdout.strip() != "0", name
            assert "ead-only" in tried.stderr, f"{name} wrote to its root"
    # Also those that no step starts.
    declared = stage.project.declared()
    for name, one in declared.items():
        assert one.get("user", "10001").split(":")[0] not in ("0", "root"), name
        assert (one["read_only"], one["cap_drop"]) == (True, ["ALL"]), name
        assert "no-new-privileges:true" in one["security_opt"], name
        assert int(one["mem_limit"]) * one["pids_limit"] > 0, name
    stage.said = f"{len(declared)} declared"


def _require_hardened(stage: Stage, name: str, *, is_published: bool, capabilities: Sequence[str] = ()) -> None:
    """Look at what the engine has really made of a service's container."""
    found = stage.project.container(name)
    host, user = found["HostConfig"], found["Config"]["User"]
    assert user.split(":")[0] not in ("", "0", "root"), f"{name} runs as {user or 'root'}"
    assert host["ReadonlyRootfs"], f"{name} can write to its root"
    added = [one.removeprefix("CAP_") for one in host["CapAdd"] or []]
    assert (host["CapDrop"], added) == (["ALL"], [*capabilities]), f"{name} keeps capabilities: {added}"
    assert "no-new-privileges:true" in host["SecurityOpt"], name
    assert min(host["Memory"] or 0, host["PidsLimit"] or 0) > 0, f"{name} has no limits"
    assert bool(host["PortBindings"]) == is_published, f"{name} publishes {host['PortBindings']}"


@step
async def check_images(stage: Stage) -> None:
    """an image holds one service, no build tools, and is small where its base is"""
    for service in SERVICES:
        other = "feed" if service != "feed" else "booking"
        tried = stage.project.inside(f"{service}-api", "python", "-c", f"import services.{other}.app")
        assert "No module named" in tried.stderr, f"{service}'s image holds {other}"
        found = stage.project.inside(f"{service}-api", "find", "/app", "-name", "*COWORK_*", "-o", "-name", "secrets")
        assert not found.stdout, f"{service}'s image holds secrets: {found.stdout}"
        tools = stage.project.inside(f"{service}-api", "sh", "-c", "command -v gcc cc make git strip")
        assert tools.returncode != 0, f"{service}'s image holds {tools.stdout}"
    sizes = {service: _megabytes(stage, f"cowork-{service}:0.1.0") for service in SERVICES}
    base = _megabytes(stage, PYTHON)
    stage.said = f"base {base} MB, with it {sizes}"
    # typst, which prints billing's documents, is 81 MB of that image alone.
    ours = max(size for service, size in sizes.items() if service != "billing") - base
    assert ours <= SMALL_MB - OFFICIAL_MB, f"{ours} MB of our own: {stage.said}"


def _megabytes(stage: Stage, image: str) -> int:
    return int(stage.project.engine.docker("inspect", "--format", "{{.Size}}", image)) // 1_000_000


@step
async def check_rights(stage: Stage) -> None:
    """a service reaches its own database and its own queues only"""
    code = (
        "import asyncio, asyncpg, pathlib\n"
        "url = pathlib.Path('/run/secrets/COWORK_FEED_DATABASE_URL').read_text().replace('+asyncpg', '')\n"
        "async def main():\n"
        "    await (await asyncpg.connect(url)).close()\n"
        "    try:\n        await asyncpg.connect(url.removesuffix('feed') + 'billing')\n"
        "    except asyncpg.InsufficientPrivilegeError:\n        print('refused')\n"
        "asyncio.run(main())"
    )
    tried = stage.project.inside("feed-api", "python", "-c", code)
    assert tried.stdout.strip() == "refused", tried.stdout + tried.stderr
    for attempt in ("publish", "consume", "bind"):
        tried = stage.project.inside("feed-worker", "python", "-c", BROKER.replace("ATTEMPT", attempt))
        assert tried.stdout.strip() == "refused", f"{attempt}: {tried.stdout}{tried.stderr}"


BROKER = """
import asyncio, aio_pika, pathlib
async def main():
    connection = await aio_pika.connect(pathlib.Path('/run/secrets/COWORK_AMQP_URL').read_text())
    channel = await connection.channel()
    exchange = await channel.get_exchange('cowork.events')
    await exchange.publish(aio_pika.Message(b'{}'), 'feed.nothing.happened.v1', mandatory=False)
    try:
        if 'ATTEMPT' == 'publish':
            await exchange.publish(aio_pika.Message(b'{}'), 'billing.invoice.paid.v1', mandatory=False)
        elif 'ATTEMPT' == 'consume':
            queue = await channel.get_queue('cowork.billing.in')
            await queue.consume(lambda message: None)
        else:
            queue = await channel.get_queue('cowork.feed.in')
            await queue.bind(exchange, 'helpdesk.ticket.opened.v1')
    except Exception as error:
        print('refused' if 'ACCESS_REFUSED' in str(error) else repr(error))
    await connection.close()
asyncio.run(main())
"""


@step
async def erase_a_member(stage: Stage) -> None:
    """sign in through the gateway, deactivate, and read the certificate"""
    certificate = await stage.completed(await stage.deactivate(f"member07@{DOMAIN}"))
    answered = {answer["service"] for answer in certificate["answers"]}
    assert answered == set(SERVICES), answered


@step
async def erase_while_things_die(stage: Stage) -> None:
    """the same with kill -9 of a worker, then of RabbitMQ, in between"""
    case = await stage.deactivate(f"member08@{DOMAIN}")
    stage.project.kill("booking-worker")
    second = await stage.deactivate(f"member09@{DOMAIN}")
    stage.project.kill("rabbitmq")
    await stage.completed(case)
    await stage.completed(second)
    stage.project.wait_until_healthy("booking-worker", "rabbitmq")


@step
async def lose_a_service(stage: Stage) -> None:
    """a service that is down degrades only what is its own"""
    stage.project.compose("stop", "-t", "20", "feed-api")
    member = await stage.sign_in(f"member10@{DOMAIN}")
    await stage.client.call("GET", "/booking/v1/locations", by=member)
    await stage.client.call("GET", "/helpdesk/v1/tickets", by=member)
    async with stage.session.get(f"{stage.project.url}/api/feed/v1/posts", headers={"Accept": "text/html"}) as answer:
        page = await answer.text()
        assert (answer.status, "<html" in page) == (502, True)
    stage.project.compose("start", "feed-api")
    stage.project.wait_until_healthy("feed-api")


@step
async def watch(stage: Stage) -> None:
    """Prometheus takes our configuration and finds every process"""
    stage.project.compose("up", "-d", "--wait", "--no-deps", "prometheus")
    _require_hardened(stage, "prometheus", is_published=False)
    wanted = 2 * len(SERVICES) + 1
    ask = "import urllib.request as r; print(r.urlopen('http://prometheus:9090/api/v1/QUESTION').read().decode())"
    async with asyncio.timeout(60):
        while True:
            said = stage.project.inside("identity-worker", "python", "-c", ask.replace("QUESTION", "targets")).stdout
            if said.count('"health":"up"') == wanted:
                break
            await asyncio.sleep(2)
    rules = stage.project.inside("identity-worker", "python", "-c", ask.replace("QUESTION", "rules")).stdout
    assert rules.count('"health":"ok"') >= 10, rules


@step
async def back_up(stage: Stage) -> None:
    """cowork backup, while everything runs"""
    done = stage.project.operator("backup", "/backups/one")
    assert done.returncode == 0, done.stdout + done.stderr


@step
async def erase_after_the_backup(stage: Stage) -> None:
    """somebody is erased whom the backup still knows"""
    await stage.completed(await stage.deactivate(f"member11@{DOMAIN}"))


@step
async def refuse_a_live_target(stage: Stage) -> None:
    """cowork restore refuses while services run"""
    done = stage.project.operator("restore", "/backups/one", "--replace", "--yes")
    assert done.returncode == 1, done.stdout + done.stderr


@step
async def restore(stage: Stage) -> None:
    """stop the services, cowork restore, start them again"""
    servers = [f"{service}-{role}" for service in SERVICES for role in ("api", "worker")]
    stage.project.compose("stop", "-t", "30", *servers)
    done = stage.project.operator("restore", "/backups/one", "--replace", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    stage.project.compose("start", *servers)
    stage.project.wait_until_healthy()


@step
async def nobody_is_back(stage: Stage) -> None:
    """who was erased, before or after the backup, cannot sign in and is in no directory; the others can"""
    for email in stage.gone:
        assert await stage.refusal(email) == 401, f"{email} is back"
    admin = await stage.sign_in(ADMIN)
    shown = json.dumps(await stage.client.call("GET", "/identity/v1/accounts?limit=100", by=admin))
    assert not [email for email in stage.gone if email in shown]
    assert f"member12@{DOMAIN}" in shown


@step
async def ask_the_doctor(stage: Stage) -> None:
    """cowork doctor finds nothing wrong"""
    done = stage.project.operator("doctor", "--json")
    assert done.returncode in (0, 3), done.stdout + done.stderr
    found = json.loads(done.stdout)
    stage.said = ", ".join(f"{one['check']}: {one['level']}" for one in found["findings"] if one["level"] != "ok")


@step
async def encrypt(stage: Stage) -> None:
    """the TLS overlay: the same suite behind https"""
    stage.project.with_tls("up", "-d", "--wait", "--no-deps", "gateway", "tls-volume", "caddy")
    for name in ("gateway", "tls-volume"):
        _require_hardened(stage, name, is_published=False)
    _require_hardened(stage, "caddy", is_published=True, capabilities=["NET_BIND_SERVICE"])
    async with asyncio.timeout(60):
        while True:
            try:
                url = f"https://localhost:{stage.project.tls_port}/healthz"
                async with stage.session.get(url, ssl=False) as answer:
                    assert await answer.text() == "ok\n"
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(1)
