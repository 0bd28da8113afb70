"""RabbitMQ: what is declared is what is there, every event has its way, somebody consumes.

AMQP tells of queues and their arguments; bindings can be read through the management API only.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlparse

import aiohttp
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from yarl import URL

from deploy.doctor.checks import of_suite
from deploy.doctor.findings import Finding, failed, ok, warning
from deploy.doctor.site import NotChecked, Site
from deploy.suite import subscriptions
from shared.bus.amqp import BROKER_ERRORS, connect
from shared.bus.topology import names, queues
from shared.events import SERVICES
from shared.events.subscribers import SUBSCRIBERS

MANAGEMENT_SECONDS = 8
Bindings = dict[str, set[str]]


class ManagementDown(Exception):
    """The management API does not answer, refuses, or says what nobody understands; `kind` names which."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Queue:
    """What AMQP tells of a queue."""

    name: str
    messages: int
    consumers: int


@of_suite("broker")
async def check_broker(site: Site) -> list[Finding]:
    """RabbitMQ lets us in."""
    url = site.get_amqp_url()
    if url is None:
        return [ok("local")]
    try:
        connection = await connect(url, name="cowork-doctor")
    except BROKER_ERRORS as error:
        refused = "ACCESS_REFUSED" in str(error) or "Authentication" in type(error).__name__
        return [failed("refused" if refused else "silent", server=_place(url))]
    async with connection:
        return [ok()]


@of_suite("topology")
async def check_topology(site: Site) -> list[Finding]:
    """Every queue is there with its arguments, and (with the management API) bound to its events and to no other."""
    url = site.get_amqp_url()
    if url is None:
        return [ok("local")]
    namespace = site.get_suite().namespace
    async with await _connect(url) as connection:
        found = await _exchanges(connection, namespace)
        found += [one for service in SERVICES for one in await _queues(connection, namespace, service)]
    try:
        bindings = await _bindings(site)
    except ManagementDown as error:
        return [*found, warning("bindings_unread", because=error.kind)]
    return [*found, *_compared(bindings, namespace)] or [ok()]


@of_suite("unroutable")
async def check_unroutable(site: Site) -> list[Finding]:
    """Every event that somebody subscribes to reaches at least one queue; the relay stands still before one that does not."""
    if site.get_amqp_url() is None:
        return [ok("local")]
    try:
        bindings = await _bindings(site)
    except ManagementDown as error:
        return [warning("bindings_unread", because=error.kind)]
    routed = {event for bound in bindings.values() for event in bound}
    lost = sorted(set(SUBSCRIBERS) - routed)
    return [failed("unbound", events=lost)] if lost else [ok()]


@of_suite("consumers")
async def check_consumers(site: Site) -> list[Finding]:
    """Each service's worker consumes, and nothing lies in the broker's dead-letter queues."""
    url = site.get_amqp_url()
    if url is None:
        return [ok("local")]
    found: list[Finding] = []
    namespace = site.get_suite().namespace
    async with await _connect(url) as connection:
        for service in SERVICES:
            queue_name, dead_name = names(namespace, service)
            queue, dead = await _find(connection, queue_name), await _find(connection, dead_name)
            if queue is not None and not queue.consumers:
                found.append(warning("nobody", about=service, queue=queue_name, waiting=queue.messages))
            if dead is not None and dead.messages:
                found.append(warning("dead_letters", about=service, queue=dead_name, count=dead.messages))
    return found or [ok()]


def _compared(bindings: Bindings, namespace: str) -> Iterator[Finding]:
    """Yield what is not bound as declared; a dead-letter queue is bound by its own name."""
    for service, types in subscriptions().items():
        queue_name, dead_name = names(namespace, service)
        lost = {*types, dead_name} - bindings[queue_name] - bindings[dead_name]
        if lost:
            yield failed("binding_missing", about=service, events=sorted(lost))
        foreign = bindings[queue_name] - set(types)
        if foreign:
            yield warning("binding_unknown", about=service, events=sorted(foreign))


async def _exchanges(connection: AbstractConnection, namespace: str) -> list[Finding]:
    missing = []
    for kind in ("events", "dead"):
        try:
            async with connection.channel() as channel:
                await channel.get_exchange(f"{namespace}.{kind}")
        except ChannelNotFoundEntity:
            missing.append(f"{namespace}.{kind}")
    return [failed("exchange_missing", exchanges=missing)] if missing else []


async def _queues(connection: AbstractConnection, namespace: str, service: str) -> list[Finding]:
    declared = queues(namespace, service)
    missing = [name for name in declared if await _find(connection, name) is None]
    found = [failed("queue_missing", about=service, queues=missing)] if missing else []
    for name in declared.keys() - missing:
        # Declaring what is there with the same arguments changes nothing; with others it is refused.
        try:
            async with connection.channel() as channel:
                await channel.declare_queue(name, durable=True, arguments=declared[name])  # type: ignore[arg-type]
        except ChannelPreconditionFailed as error:
            found.append(failed("arguments", about=service, queue=name, argument=_argument(error)))
    return found


async def _find(connection: AbstractConnection, name: str) -> Queue | None:
    """Return a queue, or None where there is none of this name; nothing is made."""
    try:
        async with connection.channel() as channel:
            told = (await channel.declare_queue(name, passive=True)).declaration_result
    except ChannelNotFoundEntity:
        return None
    return Queue(name, told.message_count or 0, told.consumer_count or 0)


def _argument(error: BaseException) -> str:
    """Return the argument that a broker's refusal names ("inequivalent arg 'x-delivery-limit' for queue …")."""
    named = re.search(r"inequivalent arg '([\w-]+)'", str(error))
    return named[1] if named else "?"


async def _connect(url: str) -> AbstractConnection:
    """Connect to the broker. Raises NotChecked: that it does not answer is said once, by the check `broker`."""
    try:
        return await connect(url, name="cowork-doctor")
    except BROKER_ERRORS as error:
        raise NotChecked("no_broker") from error


def _place(url: str) -> str:
    """Return host:port and virtual host, without who and with which password."""
    places = [urlparse(one) for one in url.split(",")]
    return ", ".join(f"{place.hostname}:{place.port or 5672}{place.path}" for place in places)


async def _bindings(site: Site) -> Bindings:
    """Return the routing keys by queue of both exchanges. Raises ManagementDown."""
    address = site.doctor.rabbitmq_management_url
    if address is None:
        raise ManagementDown("no_management")
    parsed = urlparse(address.get_secret_value())
    port = parsed.port or (443 if parsed.scheme == "https" else 15672)
    base = f"{parsed.scheme}://{parsed.hostname}:{port}{parsed.path.rstrip('/')}/api/exchanges/{_vhost(site)}"
    authority = aiohttp.BasicAuth(unquote(parsed.username or ""), unquote(parsed.password or ""))
    bound: Bindings = defaultdict(set)
    for kind in ("events", "dead"):
        exchange = quote(f"{site.get_suite().namespace}.{kind}", safe="")
        for row in await _ask(f"{base}/{exchange}/bindings/source", authority):
            if row["destination_type"] == "queue":
                bound[row["destination"]].add(row["routing_key"])
    return bound


async def _ask(url: str, authority: aiohttp.BasicAuth) -> list[dict[str, Any]]:
    timeout = aiohttp.ClientTimeout(total=MANAGEMENT_SECONDS)
    try:
        # The virtual host's slash stays %2F.
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(URL(url, encoded=True), auth=authority) as answer,
        ):
            if answer.status in (401, 403):
                raise ManagementDown("management_refused")
            if answer.status == 404:
                return []
            rows = await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise ManagementDown("management_silent") from error
    if not isinstance(rows, list):
        raise ManagementDown("management_silent")
    return rows


def _vhost(site: Site) -> str:
    path = urlparse((site.get_amqp_url() or "").split(",")[0]).path.removeprefix("/")
    return quote(unquote(path) or "/", safe="")
