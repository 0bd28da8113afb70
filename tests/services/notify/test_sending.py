"""Mails on their way to a server that answers late, hangs up or refuses; and to people who change their minds."""

import asyncio
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP

from services.notify.sending import Sender
from shared.db import uuid7
from shared.events.booking import ReservationConfirmed
from shared.events.identity import SecurityAlerted, SecurityKind
from tests.services.notify.conftest import Answer, Cast, Listen, MailServer, sender_of
from tests.support.ports import free_port

DUE = "UPDATE deliveries SET due_at = now() RETURNING id"


async def says_nothing(_: SMTP) -> str:
    await asyncio.Event().wait()
    return ""


async def hangs_up(server: SMTP) -> str:
    server.transport.abort()  # type: ignore[union-attr]
    return await says_nothing(server)


async def accepts(_: SMTP) -> str:
    return "250 OK"


async def refuses(_: SMTP) -> str:
    return "451 Try again later"


class HangsUpBeforeData(MailServer):
    async def handle_RCPT(self, server: SMTP, *_: Any) -> str:
        return await hangs_up(server)


class RefusesAndSaysNothing(MailServer):
    async def handle_RSET(self, server: SMTP, *_: Any) -> str:
        return await says_nothing(server)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.notify.submission.ANSWER_SECONDS", 2)


async def states(cast: Cast) -> list[str]:
    return [state for _, _, state in await cast.mails()]


async def send_again(cast: Cast, sender: Sender) -> int:
    await cast.notify.rows(DUE, cast.tenant)
    return await sender.send_waiting(cast.tenant)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("answer", [says_nothing, hangs_up])
async def test_a_mail_that_the_server_may_have_is_not_sent_again(cast: Cast, listen: Listen, answer: Answer) -> None:
    server = await listen(MailServer(answer))
    sender = sender_of(cast.notify, server.port)
    await cast.notify.receive(cast.mention())
    assert await sender.send_waiting(cast.tenant) == 1
    assert await states(cast) == ["unknown"]
    assert (await send_again(cast, sender), len(server.received)) == (0, 1)


async def test_a_security_mail_that_the_server_may_have_goes_again_as_the_same_mail(cast: Cast, listen: Listen) -> None:
    server = await listen(MailServer(hangs_up))
    sender = sender_of(cast.notify, server.port)
    account_id = cast.ada.account_id
    await cast.notify.receive(
        SecurityAlerted(tenant_id=cast.tenant, account_id=account_id, kind=SecurityKind.NEW_SIGN_IN)
    )
    await sender.send_waiting(cast.tenant)
    assert await states(cast) == ["waiting"]
    assert (await send_again(cast, sender), len(server.received)) == (1, 2)
    assert len({message_from_bytes(one)["Message-ID"] for one in server.received}) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "server", [MailServer(refuses), RefusesAndSaysNothing(refuses), HangsUpBeforeData(accepts), None]
)
async def test_a_mail_that_the_server_certainly_has_not_taken_is_tried_again(
    cast: Cast, listen: Listen, server: MailServer | None
) -> None:
    port = (await listen(server)).port if server is not None else free_port()
    await cast.notify.receive(cast.mention())
    await sender_of(cast.notify, port).send_waiting(cast.tenant)
    assert await states(cast) == ["waiting"]
    await send_again(cast, sender_of(cast.notify, (await listen(MailServer(accepts))).port))
    assert await states(cast) == ["sent"]


async def test_a_mail_that_comes_back_is_dropped_once_its_kind_is_switched_off(cast: Cast, listen: Listen) -> None:
    async def refuse_meanwhile(server: SMTP) -> str:
        assert (await cast.ada.put("/preferences/mention/email", {"mode": "off"})).status_code == 204
        return await refuses(server)

    server = await listen(MailServer(refuse_meanwhile))
    await cast.notify.receive(cast.mention())
    await sender_of(cast.notify, server.port).send_waiting(cast.tenant)
    assert (await states(cast), len(server.received)) == (["dropped"], 1)


async def test_a_mail_that_comes_back_is_dropped_once_consent_is_withdrawn(cast: Cast, listen: Listen) -> None:
    async def withdraw_meanwhile(server: SMTP) -> str:
        await cast.notify.receive(cast.consent(given=False))
        return await refuses(server)

    server = await listen(MailServer(withdraw_meanwhile))
    await cast.notify.receive(cast.consent(given=True))
    await cast.notify.receive(cast.news())
    await sender_of(cast.notify, server.port).send_waiting(cast.tenant)
    assert (await states(cast), len(server.received)) == (["dropped"], 1)


async def test_a_mail_queued_while_its_kind_was_being_switched_off_never_leaves(cast: Cast, listen: Listen) -> None:
    server = await listen(MailServer(accepts))
    await cast.notify.receive(cast.mention())
    # What a refusal that did not see the mail yet leaves behind.
    await cast.notify.rows(
        "INSERT INTO preferences (tenant_id, account_id, kind, channel, mode)"
        " VALUES (:tenant, :account, 'mention', 'email', 'off') RETURNING 1",
        cast.tenant, tenant=cast.tenant, account=cast.ada.account_id,
    )  # fmt: skip
    await sender_of(cast.notify, server.port).send_waiting(cast.tenant)
    assert (await states(cast), server.received) == (["dropped"], [])


@pytest.mark.parametrize(
    ("language", "said"), [("fr", "du 1 décembre 2026 à 09:00 est"), ("en", "for 1 December 2026, 09:00 is")]
)
async def test_mails_say_the_time_of_the_space_in_the_language_of_their_reader(
    cast: Cast, listen: Listen, language: str, said: str
) -> None:
    server = await listen(MailServer(accepts))
    starts_at = datetime(2026, 12, 1, 8, tzinfo=UTC)
    confirmed = ReservationConfirmed(
        tenant_id=cast.tenant, reservation_id=uuid7(), resource_id=uuid7(), account_id=cast.ada.account_id,
        order_id=uuid7(), starts_at=starts_at, ends_at=starts_at, price_minor=0, currency="EUR", vat_rate_bp=2000,
    )  # fmt: skip
    await cast.notify.receive(confirmed)
    await sender_of(cast.notify, server.port, language=language).send_waiting(cast.tenant)
    assert await states(cast) == ["sent"]
    (mail,) = [message_from_bytes(one, policy=default) for one in server.received]
    assert said in mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
