"""Published by privacy: policy, consent, holds, and the life of an erasure case."""

from datetime import date
from enum import StrEnum
from uuid import UUID

from shared.bus.contracts import AccountId, Event, Label, event


class ConsentPurpose(StrEnum):
    COMMUNICATION = "communication"
    PROSPECTING = "prospecting"


class HoldGround(StrEnum):
    LITIGATION = "litigation"
    AUTHORITY_REQUEST = "authority_request"
    FRAUD_INVESTIGATION = "fraud_investigation"


class CaseOutcome(StrEnum):
    COMPLETED = "completed"
    COMPLETED_WITH_RETENTION = "completed_with_retention"


@event("privacy.policy.published.v1", key="policy_id")
class PolicyPublished(Event):
    policy_id: UUID
    version: int
    is_material: bool
    effective_on: date


@event("privacy.consent.changed.v1", key="account_id")
class ConsentChanged(Event):
    account_id: AccountId
    purpose: ConsentPurpose
    given: bool


@event("privacy.hold.placed.v1", key="account_id")
class HoldPlaced(Event):
    account_id: AccountId
    ground: HoldGround
    review_on: date


@event("privacy.hold.lifted.v1", key="account_id")
class HoldLifted(Event):
    account_id: AccountId


@event("privacy.request.opened.v1", key="request_id")
class RequestOpened(Event):
    request_id: UUID
    account_id: AccountId | None
    due_on: date


@event("privacy.request.extended.v1", key="request_id")
class RequestExtended(Event):
    """The answer comes by `due_on` at the latest; the person is told and reads the reasons in the request."""

    request_id: UUID
    account_id: AccountId | None
    due_on: date


@event("privacy.request.answered.v1", key="request_id")
class RequestAnswered(Event):
    request_id: UUID
    account_id: AccountId | None


@event("privacy.export.completed.v1", key="export_id")
class ExportCompleted(Event):
    export_id: UUID
    account_id: AccountId


@event("privacy.erasure.redriven.v1", key="case_id")
class ErasureRedriven(Event):
    """Service `service` has not answered or still holds something: erase again. `account_id` None = the tenant."""

    case_id: UUID
    account_id: AccountId | None
    service: Label


@event("privacy.case.completed.v1", key="case_id")
class CaseCompleted(Event):
    """Every service answered and verified: what still names the account of this case is to be forgotten."""

    case_id: UUID
    outcome: CaseOutcome
