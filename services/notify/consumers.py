"""Events in: who is told of what. Every reaction names the people and the ids; words and addresses come at sending."""

from uuid import UUID

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.notify.actions.notices import drop_waiting, everybody, recipients_with, tell
from services.notify.kinds import Kind, rule_of
from services.notify.models import Recipient
from shared.bus import Consumers
from shared.db import tenant_of
from shared.events.billing import CreditNoteIssued, InvoiceIssued, QuoteIssued
from shared.events.booking import CancelReason, ReservationCancelled, ReservationConfirmed, ReservationRequested
from shared.events.feed import CommentAdded, MemberMentioned, PostPublished
from shared.events.helpdesk import TicketAssigned, TicketClosed, TicketOpened, TicketReplied
from shared.events.identity import (
    AccountInactivityWarned,
    AccountRegistered,
    AccountRolesChanged,
    LinkIssued,
    PasswordExpiring,
    Role,
    SecurityAlerted,
)
from shared.events.privacy import (
    ConsentChanged,
    ConsentPurpose,
    ExportCompleted,
    PolicyPublished,
    RequestAnswered,
    RequestExtended,
    RequestOpened,
)

consumers = Consumers("notify")


@consumers.on(AccountRegistered, latest_only=True)
async def add_recipient(session: AsyncSession, event: AccountRegistered) -> None:
    row = {"tenant_id": tenant_of(session), "account_id": event.account_id, "roles": list(event.roles)}
    await session.execute(insert(Recipient).values(**row, has_consented=False).on_conflict_do_nothing())


@consumers.on(AccountRolesChanged, latest_only=True)
async def copy_roles(session: AsyncSession, event: AccountRolesChanged) -> None:
    row = {"tenant_id": tenant_of(session), "account_id": event.account_id, "has_consented": False}
    statement = insert(Recipient).values(**row, roles=list(event.roles))
    await session.execute(
        statement.on_conflict_do_update(index_elements=["account_id"], set_={"roles": list(event.roles)})
    )


@consumers.on(ConsentChanged)
async def obey_consent(session: AsyncSession, event: ConsentChanged) -> None:
    if event.purpose is ConsentPurpose.COMMUNICATION:
        theirs = update(Recipient).where(Recipient.account_id == event.account_id)
        await session.execute(theirs.values(has_consented=event.given))
        if not event.given:
            await drop_waiting(session, event.account_id, [kind for kind in Kind if rule_of(kind).consent])


@consumers.on(LinkIssued)
async def mail_link(session: AsyncSession, event: LinkIssued) -> None:
    about = {"purpose": event.purpose}
    await tell(session, [event.account_id], Kind.LINK, about=about, link_id=event.link_id)


@consumers.on(SecurityAlerted)
async def alert(session: AsyncSession, event: SecurityAlerted) -> None:
    await tell(session, [event.account_id], Kind.SECURITY, about={"what": event.kind})


@consumers.on(PasswordExpiring)
async def warn_of_expiring_password(session: AsyncSession, event: PasswordExpiring) -> None:
    about = {"expires_on": event.expires_on.isoformat(), "days_left": event.days_left}
    await tell(session, [event.account_id], Kind.PASSWORD_EXPIRING, about=about)


@consumers.on(AccountInactivityWarned)
async def warn_of_deactivation(session: AsyncSession, event: AccountInactivityWarned) -> None:
    about = {"deactivates_on": event.deactivates_on.isoformat()}
    await tell(session, [event.account_id], Kind.INACTIVITY, about=about)


@consumers.on(ReservationRequested)
async def tell_managers_of_request(session: AsyncSession, event: ReservationRequested) -> None:
    about = {"reservation_id": str(event.reservation_id), "starts_at": event.starts_at.isoformat()}
    await tell(session, await _staff(session), Kind.RESERVATION_REQUESTED, about=about)


@consumers.on(ReservationConfirmed)
async def tell_of_confirmation(session: AsyncSession, event: ReservationConfirmed) -> None:
    about = {"reservation_id": str(event.reservation_id), "starts_at": event.starts_at.isoformat()}
    await tell(session, [event.account_id], Kind.RESERVATION_CONFIRMED, about=about)


@consumers.on(ReservationCancelled)
async def tell_of_cancellation(session: AsyncSession, event: ReservationCancelled) -> None:
    if event.reason is CancelReason.MEMBER or event.reason is CancelReason.ACCOUNT_DEACTIVATED:
        return
    about = {"reservation_id": str(event.reservation_id), "starts_at": event.starts_at.isoformat()}
    await tell(session, [event.account_id], Kind.RESERVATION_CANCELLED, about=about)


@consumers.on(QuoteIssued)
async def tell_of_quote(session: AsyncSession, event: QuoteIssued) -> None:
    about = {"quote_id": str(event.quote_id), "valid_until": event.valid_until.isoformat()}
    await tell(session, [event.account_id], Kind.QUOTE, about=about)


@consumers.on(InvoiceIssued)
async def tell_of_invoice(session: AsyncSession, event: InvoiceIssued) -> None:
    about = {"invoice_id": str(event.invoice_id), "due_on": event.due_on.isoformat()}
    await tell(session, [event.account_id], Kind.INVOICE, about=about)


@consumers.on(CreditNoteIssued)
async def tell_of_credit_note(session: AsyncSession, event: CreditNoteIssued) -> None:
    about = {"credit_note_id": str(event.credit_note_id)}
    await tell(session, [event.account_id], Kind.CREDIT_NOTE, about=about)


@consumers.on(PostPublished)
async def tell_of_announcement(session: AsyncSession, event: PostPublished) -> None:
    if event.is_announcement:
        others = [account for account in await everybody(session) if account != event.author_id]
        await tell(session, others, Kind.ANNOUNCEMENT, about={"post_id": str(event.post_id)})


@consumers.on(CommentAdded)
async def tell_of_comment(session: AsyncSession, event: CommentAdded) -> None:
    if event.post_author_id != event.author_id:
        await tell(session, [event.post_author_id], Kind.COMMENT, about={"post_id": str(event.post_id)})


@consumers.on(MemberMentioned)
async def tell_of_mention(session: AsyncSession, event: MemberMentioned) -> None:
    others = [account for account in event.mentioned_ids if account != event.author_id]
    await tell(session, others, Kind.MENTION, about={"post_id": str(event.post_id)})


@consumers.on(TicketOpened)
async def tell_managers_of_ticket(session: AsyncSession, event: TicketOpened) -> None:
    others = [account for account in await _staff(session) if account != event.requester_id]
    await tell(session, others, Kind.TICKET_OPENED, about={"ticket_id": str(event.ticket_id)})


@consumers.on(TicketReplied)
async def tell_of_reply(session: AsyncSession, event: TicketReplied) -> None:
    told = [event.requester_id if event.by_staff else event.assignee_id]
    if not event.by_staff and event.assignee_id is None:
        # Nobody has taken the ticket yet: whoever hears of a new one hears what is said on it.
        told = [account for account in await _staff(session) if account != event.author_id]
    await tell(session, told, Kind.TICKET_REPLIED, about={"ticket_id": str(event.ticket_id)})


@consumers.on(TicketAssigned)
async def tell_assignee(session: AsyncSession, event: TicketAssigned) -> None:
    await tell(session, [event.assignee_id], Kind.TICKET_ASSIGNED, about={"ticket_id": str(event.ticket_id)})


@consumers.on(TicketClosed)
async def tell_of_closing(session: AsyncSession, event: TicketClosed) -> None:
    await tell(session, [event.requester_id], Kind.TICKET_CLOSED, about={"ticket_id": str(event.ticket_id)})


@consumers.on(PolicyPublished)
async def tell_of_policy(session: AsyncSession, event: PolicyPublished) -> None:
    if event.is_material:
        about = {"version": event.version, "effective_on": event.effective_on.isoformat()}
        await tell(session, await everybody(session), Kind.POLICY, about=about)


@consumers.on(RequestOpened)
async def tell_officer(session: AsyncSession, event: RequestOpened) -> None:
    about = {"request_id": str(event.request_id), "due_on": event.due_on.isoformat()}
    # The legal month runs whether a space has an officer or not; administrators may answer, too.
    told = await recipients_with(session, Role.DPO) or await recipients_with(session, Role.ADMIN)
    await tell(session, told, Kind.REQUEST, about=about)


@consumers.on(RequestExtended)
async def tell_of_extension(session: AsyncSession, event: RequestExtended) -> None:
    about = {"request_id": str(event.request_id), "due_on": event.due_on.isoformat()}
    await tell(session, [event.account_id], Kind.REQUEST_EXTENDED, about=about)


@consumers.on(RequestAnswered)
async def tell_of_answer(session: AsyncSession, event: RequestAnswered) -> None:
    about = {"request_id": str(event.request_id)}
    await tell(session, [event.account_id], Kind.REQUEST_ANSWERED, about=about)


@consumers.on(ExportCompleted)
async def tell_of_export(session: AsyncSession, event: ExportCompleted) -> None:
    await tell(session, [event.account_id], Kind.EXPORT_READY, about={"export_id": str(event.export_id)})


async def _staff(session: AsyncSession) -> list[UUID]:
    return await recipients_with(session, Role.MANAGER, Role.ADMIN)
