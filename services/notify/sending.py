"""Mail on its way: claimed, resolved, marked, sent. Nobody gets a mail twice, and no address is ever stored."""

import asyncio
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import aiosmtplib
import structlog
from sqlalchemy import ColumnElement, case, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.notify import unsubscribe
from services.notify.kinds import Channel, Kind, Mode, rule_of
from services.notify.local_time import zone_of
from services.notify.mails import compose
from services.notify.models import Counter, Delivery, DeliveryState, Preference, Recipient
from services.notify.outbox import OUTBOX, ShownMail
from services.notify.settings import Settings
from services.notify.submission import FateUnknown, submit
from shared.bus import publish
from shared.bus.crash import crash
from shared.db import Database, utc_now
from shared.events.identity import LinkPurpose
from shared.events.notify import LinkSettled, MailOutcome
from shared.internal import Internal
from shared.problems import BadGateway, Gone, NotFound

log = structlog.get_logger()
BATCH = 20
# At once: mail servers refuse a client that opens many.
CONNECTIONS = 5
CLAIM = timedelta(minutes=2)
MAX_ATTEMPTS = 8
# A deactivation waits for its last mail: it is tried twice, not for hours.
MAX_LAST_MAIL_ATTEMPTS = 2
OUTCOMES = {
    DeliveryState.SENT: MailOutcome.SENT,
    DeliveryState.FAILED: MailOutcome.FAILED,
    DeliveryState.DROPPED: MailOutcome.DROPPED,
}


class Sender:
    """Sends one tenant's waiting mails."""

    def __init__(self, database: Database, internal: Internal, settings: Settings) -> None:
        self._database = database
        self._internal = internal
        self._settings = settings
        self._connections = asyncio.Semaphore(CONNECTIONS)

    async def send_waiting(self, tenant_id: UUID) -> int:
        """Send up to BATCH mails that are due; return how many were claimed."""
        claimed, zone = await self._claim(tenant_id)
        deliveries = (self._deliver_in_turn(delivery, zone) for delivery in claimed)
        ends = await asyncio.gather(*deliveries, return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return len(claimed)

    async def _claim(self, tenant_id: UUID) -> tuple[list[Delivery], ZoneInfo]:
        """Links first: somebody is waiting for them. With them, the zone in which the space reads the time."""
        due = (
            select(Delivery.id)
            .where(
                Delivery.state == DeliveryState.WAITING,
                Delivery.due_at <= func.now(),
                Delivery.claimed_until.is_(None) | (Delivery.claimed_until < func.now()),
            )
            .order_by(Delivery.link_id.is_(None), Delivery.due_at)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        claim = update(Delivery).where(Delivery.id.in_(due.scalar_subquery())).values(claimed_until=func.now() + CLAIM)
        async with self._database.transaction(tenant_id) as session:
            return list((await session.execute(claim.returning(Delivery))).scalars()), await zone_of(session)

    async def _deliver_in_turn(self, delivery: Delivery, zone: ZoneInfo) -> None:
        async with self._connections:
            await self._deliver(delivery, zone)

    async def _deliver(self, delivery: Delivery, zone: ZoneInfo) -> None:
        try:
            mail = await self._resolve(delivery, zone)
        except (Gone, NotFound):
            await self._settle(delivery, DeliveryState.DROPPED)
            return
        except BadGateway as error:
            log.info("mail.waits_for_identity", delivery_id=str(delivery.id), exc_info=error)
            await self._put_off(delivery)
            return
        if not await self._mark_sending(delivery):
            return
        crash("mail.before_data")
        try:
            await self._send(delivery, mail)
        except FateUnknown as error:
            log.error("mail.fate_unknown", delivery_id=str(delivery.id), kind=delivery.kind, exc_info=error)
            await self._doubt(delivery)
            return
        except (aiosmtplib.SMTPException, OSError) as error:
            log.warning("mail.failed", delivery_id=str(delivery.id), kind=delivery.kind, exc_info=error)
            await self._fail(delivery)
            return
        crash("mail.after_data")
        await self._settle(delivery, DeliveryState.SENT)

    async def _resolve(self, delivery: Delivery, zone: ZoneInfo) -> EmailMessage:
        """Ask identity for the address now; it is used and forgotten."""
        if delivery.kind is Kind.LINK:
            contact = await self._internal.get("identity", f"links/{delivery.link_id}", tenant_id=delivery.tenant_id)
            url = contact["url"]
        else:
            contact = await self._internal.get(
                "identity", f"contacts/{delivery.account_id}", tenant_id=delivery.tenant_id
            )
            url = self._settings.suite.public_url
        return compose(
            delivery.kind,
            language=contact["language"],
            zone=zone,
            about=delivery.about,
            url=url,
            delivery_id=delivery.id,
            sender=self._settings.mail_from,
            recipient=contact["email"],
            unsubscribe_url=self._unsubscribe_url(delivery),
        )

    def _unsubscribe_url(self, delivery: Delivery) -> str | None:
        if rule_of(delivery.kind).mandatory:
            return None
        key = self._settings.digest_key.get_secret_value()
        token = unsubscribe.sign(key, delivery.tenant_id, delivery.account_id, delivery.kind)
        return f"{self._settings.suite.public_url}/api/notify/v1/unsubscriptions?token={token}"

    async def _mark_sending(self, delivery: Delivery) -> bool:
        """Note that the server may have the mail from now on; False when it is gone, dropped, or no longer wanted."""
        marked = update(Delivery).where(Delivery.id == delivery.id, Delivery.state == DeliveryState.WAITING)
        values = {
            "state": _unless_refused(delivery.kind, DeliveryState.SENDING),
            "attempts": Delivery.attempts + 1,
            "claimed_until": func.now() + CLAIM,
        }
        async with self._database.transaction(delivery.tenant_id) as session:
            found = await session.execute(marked.values(values).returning(Delivery.state, Delivery.attempts))
            row = found.one_or_none()
        if row is None or row.state is not DeliveryState.SENDING:
            return False
        delivery.attempts = row.attempts
        return True

    async def _send(self, delivery: Delivery, mail: EmailMessage) -> None:
        if self._settings.smtp_host is not None:
            await submit(mail, self._settings)
        if self._settings.outbox_page:
            text = mail.get_body(("plain",))
            shown = text.get_content() if text is not None else ""
            OUTBOX.add(ShownMail(delivery.account_id, utc_now(), mail["To"], mail["Subject"], shown))

    async def _put_off(self, delivery: Delivery) -> None:
        later = update(Delivery).where(Delivery.id == delivery.id).values(due_at=func.now() + timedelta(seconds=5))
        async with self._database.transaction(delivery.tenant_id) as session:
            await session.execute(later.values(claimed_until=None))

    async def _fail(self, delivery: Delivery) -> None:
        is_last_mail = delivery.about.get("purpose") == LinkPurpose.DEACTIVATION
        if delivery.attempts >= (MAX_LAST_MAIL_ATTEMPTS if is_last_mail else MAX_ATTEMPTS):
            await self._settle(delivery, DeliveryState.FAILED)
            return
        wait = timedelta(seconds=2 if is_last_mail else min(30 * 2**delivery.attempts, 6 * 3600))
        again = update(Delivery).where(Delivery.id == delivery.id, Delivery.state == DeliveryState.SENDING)
        state = _unless_refused(delivery.kind, DeliveryState.WAITING)
        values = {"state": state, "due_at": func.now() + wait, "claimed_until": None}
        async with self._database.transaction(delivery.tenant_id) as session:
            await session.execute(again.values(values))

    async def _doubt(self, delivery: Delivery) -> None:
        """The server may have the mail: as after a crash, only security kinds go again."""
        if rule_of(delivery.kind).resends:
            await self._fail(delivery)
        else:
            await self._settle(delivery, DeliveryState.UNKNOWN)

    async def _settle(self, delivery: Delivery, state: DeliveryState) -> None:
        async with self._database.transaction(delivery.tenant_id) as session:
            await session.execute(update(Delivery).where(Delivery.id == delivery.id).values(state=state))
            if delivery.link_id is not None:
                event = LinkSettled(
                    tenant_id=delivery.tenant_id,
                    link_id=delivery.link_id,
                    account_id=delivery.account_id,
                    outcome=OUTCOMES[state],
                )
                await publish(session, event)
            if state is DeliveryState.SENT:
                # Last, for every mail of the day meets on this row.
                await _count(session, delivery)

    async def recover(self, tenant_id: UUID) -> int:
        """After a crash in mid-send nobody knows whether the mail left: report it; only security kinds go again.

        Returns the number of mails whose fate is unknown.
        """
        stranded = (Delivery.state == DeliveryState.SENDING, Delivery.claimed_until < func.now())
        resent = [kind for kind in Kind if rule_of(kind).resends]
        async with self._database.transaction(tenant_id) as session:
            again = update(Delivery).where(*stranded, Delivery.kind.in_(resent))
            await session.execute(again.values(state=DeliveryState.WAITING, claimed_until=None, due_at=func.now()))
            unknown = update(Delivery).where(*stranded, Delivery.kind.not_in(resent))
            lost = (await session.execute(unknown.values(state=DeliveryState.UNKNOWN).returning(Delivery.id))).all()
        if lost:
            log.error("mail.fate_unknown", count=len(lost))
        return len(lost)


def _unless_refused(kind: Kind, state: DeliveryState) -> Any:
    """Return `state`, or DROPPED once the person has switched the kind off or withdrawn the consent that it needs.

    Asked by the statement that lets a mail out: a refusal finds only what waits, not what is on its way and comes back.
    """
    rule = rule_of(kind)
    if rule.mandatory:
        return state
    refusals: list[ColumnElement[bool]] = [
        exists().where(
            Preference.account_id == Delivery.account_id,
            Preference.kind == kind,
            Preference.channel == Channel.EMAIL,
            Preference.mode == Mode.OFF,
        )
    ]
    if rule.consent:
        refusals.append(~exists().where(Recipient.account_id == Delivery.account_id, Recipient.has_consented))
    names = Delivery.state.type
    return case((or_(*refusals), literal(DeliveryState.DROPPED, names)), else_=literal(state, names))


async def _count(session: AsyncSession, delivery: Delivery) -> None:
    row: dict[str, Any] = {
        "tenant_id": delivery.tenant_id,
        "kind": delivery.kind,
        "channel": Channel.EMAIL,
        "on": utc_now().date(),
    }
    statement = insert(Counter).values(**row, sent=1)
    more = statement.on_conflict_do_update(index_elements=list(row), set_={"sent": Counter.sent + 1})
    await session.execute(more)
