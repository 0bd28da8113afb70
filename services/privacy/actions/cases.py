"""Erasure cases: who must answer, who has, what is retained, and when it is complete."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from dateutil.relativedelta import relativedelta
from sqlalchemy import and_, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from services.privacy.errors import CaseNotFound
from services.privacy.ledger import Entry, Ledger
from services.privacy.ledger.chain import digest_of
from services.privacy.models import Answer, Case, CaseState, Participant
from shared.bus import publish
from shared.db import fetch, tenant_of, wake_after_commit
from shared.events import SERVICES
from shared.events.erasure import Outcome, Receipt, TenantErased
from shared.events.identity import ContentChoice
from shared.events.privacy import CaseCompleted, CaseOutcome, ErasureRedriven
from shared.privacy.tables import erasures

# Days after which an open case is reported to the data protection officer again.
ESCALATIONS = (1, 3, 7, 14, 21, 28)
SETTLED = (Outcome.DONE, Outcome.RETAINED, Outcome.NOTHING_HELD)
_LOCK = "SELECT completed_at FROM cases WHERE id = $1 FOR UPDATE"
_NOTE = (
    "INSERT INTO answers (tenant_id, case_id, service, outcome, manifest_digest, counts, retained, accounts, answered_at)"
    " VALUES (current_setting('cowork.tenant')::uuid, $1, $2, $3, $4, $5::jsonb, $6::jsonb, $7, $8)"
    " ON CONFLICT (case_id, service) DO UPDATE SET outcome = excluded.outcome, manifest_digest = excluded.manifest_digest,"
    " counts = excluded.counts, retained = excluded.retained, accounts = excluded.accounts,"
    " answered_at = excluded.answered_at, remaining = NULL"
)
_ADVANCE = (
    "UPDATE cases SET version = version + 1, state = (SELECT CASE"
    " WHEN bool_or(outcome = 'ON_HOLD') THEN 'on_hold' WHEN bool_or(outcome = 'FAILED') THEN 'remediating'"
    " WHEN bool_and(coalesce(outcome = ANY($2), false)) THEN 'verifying' ELSE 'awaiting_receipts' END"
    " FROM answers WHERE case_id = $1) WHERE id = $1 RETURNING state"
)


# What the index of open cases holds; a case on hold is one of them.
_IS_OPEN = Case.completed_at.is_(None)
# Not answered, failed, or something is left of what was said to be gone.
_IS_LATE = or_(
    Answer.outcome.is_(None), Answer.outcome == Outcome.FAILED, and_(Answer.outcome.in_(SETTLED), Answer.remaining > 0)
)
# What the services' verifications have found of several cases, in one statement: cases, services, counts.
_REMAINING = (
    "UPDATE answers a SET remaining = found.remaining FROM unnest($1::uuid[], $2::text[], $3::int[])"
    " AS found (case_id, service, remaining) WHERE a.case_id = found.case_id AND a.service = found.service"
)
_REMEDIATE = "UPDATE cases SET state = 'remediating' WHERE id = ANY($1::uuid[]) AND state = 'verifying'"


def due_date(commanded_on: date) -> date:
    """Return the last day of the legal time: one calendar month (GDPR art. 12(3))."""
    return commanded_on + relativedelta(months=1)


async def open_case(
    session: AsyncSession, case_id: UUID, *, account_id: UUID | None, reason: str, commanded_at: datetime
) -> None:
    """Open a case and snapshot who must answer; a second call changes nothing."""
    row = {
        "id": case_id,
        "tenant_id": tenant_of(session),
        "account_id": account_id,
        "is_tenant": account_id is None,
        "reason": reason,
        "state": CaseState.AWAITING_RECEIPTS,
        "commanded_at": commanded_at,
        "due_on": due_date(commanded_at.date()),
        "escalated_days": 0,
        "version": 1,
    }
    opened = await session.execute(insert(Case).values(row).on_conflict_do_nothing().returning(Case.id))
    if opened.scalar() is None:
        return
    registered = (await session.execute(select(Participant.service))).scalars().all()
    # Never an empty list: the services of the suite answer even if none has registered yet.
    await _await_answers(session, [case_id], sorted({*SERVICES, *registered}))


async def _await_answers(session: AsyncSession, cases: Sequence[UUID], services: Sequence[str]) -> None:
    tenant_id = tenant_of(session)
    rows = [
        {"tenant_id": tenant_id, "case_id": case_id, "service": service, "counts": [], "retained": [], "accounts": 0}
        for case_id in cases
        for service in services
    ]
    if rows:
        await session.execute(insert(Answer).on_conflict_do_nothing(), rows)


async def join_open_cases(session: AsyncSession, service: str) -> None:
    """A service that registers late answers the tenant's open cases, too."""
    open_ = await session.execute(select(Case.id).where(_IS_OPEN))
    await _await_answers(session, open_.scalars().all(), [service])


async def note_receipt(session: AsyncSession, service: str, receipt: Receipt, *, now: datetime) -> None:
    """Note a service's answer. One for a case that is unknown here makes the bus try again later."""
    known = await fetch(session, _LOCK, receipt.case_id)
    if not known:
        raise CaseNotFound
    if known[0]["completed_at"] is not None:
        return
    counts, retained = (
        orjson.dumps([entry.model_dump(mode="json") for entry in entries]).decode()
        for entries in (receipt.counts, receipt.retained)
    )
    accounts = receipt.accounts if isinstance(receipt, TenantErased) else 1
    answer = (receipt.case_id, service, receipt.outcome, receipt.manifest_digest, counts, retained, accounts, now)
    await fetch(session, _NOTE, *answer)
    ((state,),) = await fetch(session, _ADVANCE, receipt.case_id, SETTLED)
    if state == CaseState.VERIFYING:
        wake_after_commit(session, "advance_open_cases")


async def answers_of(session: AsyncSession, case_id: UUID) -> Sequence[Answer]:
    """Return a case's answers by service."""
    statement = select(Answer).where(Answer.case_id == case_id).order_by(Answer.service)
    return (await session.execute(statement)).scalars().all()


async def get_case(session: AsyncSession, case_id: UUID) -> Case:
    """Raises CaseNotFound."""
    case = await session.get(Case, case_id)
    if case is None:
        raise CaseNotFound
    return case


async def list_cases(session: AsyncSession, *, after: tuple[Any, ...] | None, limit: int) -> Sequence[Case]:
    """Return up to `limit + 1` cases, the most recent first, after (commanded_at, id)."""
    statement = select(Case).order_by(Case.commanded_at.desc(), Case.id.desc()).limit(limit + 1)
    if after is not None:
        at, id_ = after
        statement = statement.where((Case.commanded_at < at) | ((Case.commanded_at == at) & (Case.id < id_)))
    return (await session.execute(statement)).scalars().all()


async def open_cases(session: AsyncSession) -> Sequence[Case]:
    """Return the tenant's cases that are not completed, oldest first."""
    statement = select(Case).where(_IS_OPEN).order_by(Case.commanded_at)
    return (await session.execute(statement)).scalars().all()


async def due_cases(session: AsyncSession, *, redrive_after: timedelta, now: datetime) -> Sequence[Case]:
    """Return the tenant's open cases for which something is to be done now, oldest first.

    That is to verify, to ask late services again, or to report. Whoever merely waits for answers costs nothing, nor does
    a case in which all others wait for the end of a hold.
    """
    late = exists().where(Answer.case_id == Case.id, _IS_LATE)
    was_asked = func.coalesce(Case.redriven_at, Case.commanded_at) <= now - redrive_after
    is_late = and_(was_asked, or_(Case.state != CaseState.ON_HOLD, late))
    reaches = [(Case.escalated_days < days) & (Case.commanded_at <= now - timedelta(days=days)) for days in ESCALATIONS]
    due = or_(Case.state == CaseState.VERIFYING, is_late, *reaches)
    statement = select(Case).where(_IS_OPEN, due).order_by(Case.commanded_at)
    return (await session.execute(statement)).scalars().all()


async def redrive_late(session: AsyncSession, case: Case, *, after: timedelta, now: datetime) -> list[str]:
    """Ask the services that are late, or that failed, to erase again; return their names.

    Whom a hold keeps from erasing goes on by itself when the hold is lifted.
    """
    last = case.redriven_at or case.commanded_at
    if now - last < after:
        return []
    answering = select(Answer.service).where(Answer.case_id == case.id, _IS_LATE).order_by(Answer.service)
    late = list(await session.scalars(answering))
    for service in late:
        event = ErasureRedriven(tenant_id=case.tenant_id, case_id=case.id, account_id=case.account_id, service=service)
        await publish(session, event, version=case.version)
    if late:
        await session.execute(update(Case).where(Case.id == case.id).values(redriven_at=now, version=Case.version + 1))
    return late


async def note_escalation(session: AsyncSession, case: Case, *, now: datetime) -> int | None:
    """Return the days after which an open case is due to be reported now, once per step; None otherwise."""
    days = (now - case.commanded_at).days
    reached = [step for step in ESCALATIONS if case.escalated_days < step <= days]
    if not reached:
        return None
    await session.execute(update(Case).where(Case.id == case.id).values(escalated_days=reached[-1]))
    return reached[-1]


async def asked_of(session: AsyncSession, case_ids: Sequence[UUID]) -> dict[str, list[UUID]]:
    """Return the services that answer cases, each with those cases."""
    asked: dict[str, list[UUID]] = defaultdict(list)
    answering = select(Answer.service, Answer.case_id).where(Answer.case_id.in_(case_ids))
    for service, case_id in (await session.execute(answering)).tuples():
        asked[service].append(case_id)
    return asked


async def note_remaining(session: AsyncSession, found: Sequence[tuple[UUID, str, int]]) -> None:
    """Note what the verifications have found: (case, service, what is left)."""
    await fetch(session, _REMAINING, *map(list, zip(*found, strict=True)))
    await fetch(session, _REMEDIATE, list({case_id for case_id, _, count in found if count}))


async def entries_of(
    session: AsyncSession, verified: Sequence[Case], ledger: Ledger, *, now: datetime
) -> dict[UUID, Entry]:
    """Return what the ledger is to say of those cases whose every answer is settled and clean, by case."""
    ids = [case.id for case in verified]
    answers: dict[UUID, list[Answer]] = defaultdict(list)
    for answer in (await session.execute(select(Answer).where(Answer.case_id.in_(ids)))).scalars():
        answers[answer.case_id].append(answer)
    content = select(erasures.c.case_id, erasures.c.content).where(erasures.c.case_id.in_(ids))
    chosen = dict((await session.execute(content)).tuples().all())
    outcomes = {case_id: outcome for case_id, given in answers.items() if (outcome := _outcome_of(given))}
    return {
        case.id: Entry(
            subject_hmac=ledger.digest(case.tenant_id, case.account_id or case.tenant_id),
            outcome=outcomes[case.id],
            content=ContentChoice(chosen.get(case.id) or ContentChoice.REMOVE),
            erased_at=now,
            manifests_digest=digest_of((one.service, one.manifest_digest) for one in answers[case.id]),
        )
        for case in verified
        if case.id in outcomes
    }


async def complete(session: AsyncSession, case_id: UUID, *, now: datetime) -> bool:
    """Complete a case whose every answer is settled and verified clean; False when it is not (or was already).

    The ledger has its entry by then. Publishes CaseCompleted and forgets the account id.
    """
    case = await session.get(Case, case_id, with_for_update=True)
    if case is None or case.completed_at is not None:
        return False
    outcome = _outcome_of(await answers_of(session, case_id))
    if outcome is None:
        return False
    case.state = CaseState(outcome.value)
    case.completed_at = now
    case.account_id = None
    case.version += 1
    await session.flush()
    completed = CaseCompleted(tenant_id=case.tenant_id, case_id=case_id, outcome=outcome)
    await publish(session, completed, version=case.version)
    return True


def _outcome_of(answers: Sequence[Answer]) -> CaseOutcome | None:
    """Return how a case ends; None while an answer is missing, not settled, not verified or not clean."""
    if not answers or any(answer.outcome not in SETTLED or answer.remaining != 0 for answer in answers):
        return None
    has_retained = any(answer.retained for answer in answers)
    return CaseOutcome.COMPLETED_WITH_RETENTION if has_retained else CaseOutcome.COMPLETED
