"""The load of a fault run: members who write to three services over HTTP.

About 200 events a second are asked for; two processors that run everything carry 60 to 150.
"""

import asyncio
import itertools
import random
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from deploy.demo.client import Refused
from tests.support.spaces import PASSWORD, Space

REQUESTS_PER_SECOND = 130
MOST_AT_ONCE = 24
RENEW_SECONDS = 120
ROLLED_BACK = "rolled_back_on_purpose"


@dataclass
class Answers:
    """What the writers were told: ids of what exists, marks of what must not, and every other answer counted."""

    made: dict[str, set[str]] = field(default_factory=lambda: {"tickets": set(), "posts": set(), "reservations": set()})
    undone: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    # When each reply was accepted, by ticket: (seconds of the monotonic clock, ticket).
    replied: list[tuple[float, str]] = field(default_factory=list)

    @property
    def http_5xx(self) -> int:
        return sum(count for name, count in self.counts.items() if name.startswith("5"))


class Load:
    """Writes `per_second` requests until stopped; one that finds no server is counted, never repeated.

    What a machine does not carry is left out: at most so many requests are on their way at once.
    """

    def __init__(
        self, space: Space, members: list[Any], rooms: list[Any], tickets: list[str], slots: Iterator[int]
    ) -> None:
        self.answers = Answers()
        self.per_second: float = REQUESTS_PER_SECOND
        self._space = space
        self._members = members
        self._rooms = rooms
        self._tickets = tickets
        self._numbers = itertools.count(1)
        self._name = f"load{secrets.token_hex(4)}"
        self._slots = slots
        self._random = random.Random(1815)
        self._tasks: set[asyncio.Task[None]] = set()
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=40))
        self._going = asyncio.Event()
        self._going.set()
        self._running: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._sign_in()
        self._running = [asyncio.create_task(self._write()), asyncio.create_task(self._renew_tokens())]

    async def stop(self) -> None:
        """Stop writing and wait for the answers that are still owed."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.gather(*self._tasks)
        await self._http.close()

    async def pause(self) -> None:
        """Write nothing until `resume`; returns when every answer that was owed is there."""
        self._going.clear()
        await asyncio.gather(*self._tasks)

    def resume(self) -> None:
        self._going.set()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        writes = self._mix()
        while True:
            due = max(due + 1 / self.per_second, loop.time() - 1)
            await asyncio.sleep(max(0, due - loop.time()))
            await self._going.wait()
            if len(self._tasks) < MOST_AT_ONCE:
                task = asyncio.create_task(next(writes)())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _mix(self) -> "itertools.cycle[Callable[[], Awaitable[None]]]":
        mention, reply, ticket, book = self._post_with_mention, self._reply, self._open_ticket, self._reserve
        return itertools.cycle([mention, reply, ticket, mention, reply, mention, ticket, reply, mention, book])

    async def _renew_tokens(self) -> None:
        """Access tokens live five minutes; who cannot sign in now tries again soon."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await self._sign_in()

    async def _sign_in(self) -> None:
        for member in self._members:
            try:
                member.token = (await self._space.client.sign_in(member.email, PASSWORD)).token
            except (Refused, aiohttp.ClientError, OSError, TimeoutError):
                self.answers.counts["sign-in failed"] += 1

    async def _post_with_mention(self) -> None:
        author, mentioned = self._random.sample(self._members, 2)
        mark = self._mark()
        body = {"body": f"{mark} @{{mention:0}}", "mentions": [mentioned.account_id]}
        await self._call("posts", "/feed/v1/posts", body, by=author, mark=mark)

    async def _open_ticket(self) -> None:
        mark = self._mark()
        body = {"subject": mark, "body": "It flickers.", "category": "other"}
        await self._call("tickets", "/helpdesk/v1/tickets", body, by=self._random.choice(self._members), mark=mark)

    async def _reply(self) -> None:
        await self.reply_on(self._random.choice(self._tickets))

    async def reply_on(self, ticket: str) -> None:
        """Reply as the requester of one of the tickets that the ground has opened."""
        requester = self._members[self._tickets.index(ticket) % len(self._members)]
        await self._call(None, f"/helpdesk/v1/tickets/{ticket}/replies", {"body": self._mark()}, by=requester)

    async def carried(self, seconds: float) -> float:
        """Watch for some seconds; return the requests per second that were answered."""
        before = self.answers.counts.total()
        await asyncio.sleep(seconds)
        return (self.answers.counts.total() - before) / seconds

    async def reply_rate(self, seconds: float, *, leaving_out: str) -> float:
        """Watch for some seconds; return the replies per second that were accepted on all tickets but one."""
        since = time.monotonic()
        await asyncio.sleep(seconds)
        return sum(at >= since and ticket != leaving_out for at, ticket in self.answers.replied) / seconds

    async def _reserve(self) -> None:
        number = next(self._slots)
        morning = datetime.now(UTC).replace(hour=8, minute=0, second=0, microsecond=0) + timedelta(days=2)
        day, room = divmod(number, len(self._rooms) * 16)
        starts_at = morning + timedelta(days=day % 300, minutes=30 * (room // len(self._rooms)))
        body = {"resource_id": self._rooms[room % len(self._rooms)]["id"], "starts_at": starts_at.isoformat()}
        body["ends_at"] = (starts_at + timedelta(minutes=30)).isoformat()
        await self._call("reservations", "/booking/v1/reservations", body, by=self._random.choice(self._members))

    def _mark(self) -> str:
        return f"{self._name}-{next(self._numbers)}"

    async def _call(self, table: str | None, path: str, body: Any, *, by: Any, mark: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {by.token}", "Idempotency-Key": self._mark()}
        try:
            async with self._http.post(self._space.client.url(path), json=body, headers=headers) as answer:
                content = await answer.json()
        except (aiohttp.ClientError, TimeoutError, OSError):
            self.answers.counts["no answer"] += 1
            return
        if answer.status == 201 and path.endswith("/replies"):
            self.answers.replied.append((time.monotonic(), path.split("/")[4]))
        self._note(table, answer.status, content, mark)

    def _note(self, table: str | None, status: int, content: Any, mark: str | None) -> None:
        if status == 201 and table is not None:
            self.answers.made[table].add(content["id"])
        if content.get("code") == ROLLED_BACK:
            self.answers.counts[ROLLED_BACK] += 1
            if mark is not None:
                self.answers.undone.add(mark)
            return
        self.answers.counts[f"{status} {content.get('code', '')}".strip()] += 1
