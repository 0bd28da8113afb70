"""Receipts: the one kind of event that every service publishes under its own name."""

from datetime import date
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from shared.bus.contracts import AccountId, Event, Label, event


class Outcome(StrEnum):
    """What a service answers to an erasure. FAILED names the rule that did not hold; there is no "skipped"."""

    DONE = "DONE"
    RETAINED = "RETAINED"
    NOTHING_HELD = "NOTHING_HELD"
    ON_HOLD = "ON_HOLD"
    FAILED = "FAILED"


class RetainedRows(BaseModel):
    """Rows of one rule kept on a legal ground until a date (None: until settled)."""

    model_config = ConfigDict(frozen=True)

    rule: Label
    ground: Label
    until: date | None
    count: int


class RuleCount(BaseModel):
    """Rows that one rule (`table.column` or `table`) deleted or changed."""

    model_config = ConfigDict(frozen=True)

    rule: Label
    count: int


class Receipt(Event):
    """A service's answer for one case."""

    case_id: UUID
    manifest_digest: Label
    outcome: Outcome
    counts: list[RuleCount] = []
    retained: list[RetainedRows] = []


class AccountErased(Receipt):
    account_id: AccountId


class TenantErased(Receipt):
    accounts: int


class ManifestPublished(Event):
    """A service holds personal data as its manifest says; privacy registers it as one who must answer."""

    service: Label
    digest: Label


def _receipts(service: str) -> tuple[type[AccountErased], type[TenantErased], type[ManifestPublished]]:
    name = service.capitalize()
    account = event(f"{service}.account.erased.v1", key="case_id")(type(f"{name}AccountErased", (AccountErased,), {}))
    tenant = event(f"{service}.tenant.erased.v1", key="case_id")(type(f"{name}TenantErased", (TenantErased,), {}))
    manifest = event(f"{service}.manifest.published.v1", key="service")(
        type(f"{name}ManifestPublished", (ManifestPublished,), {})
    )
    return account, tenant, manifest


RECEIPTS = {
    service: _receipts(service)
    for service in ("identity", "booking", "billing", "feed", "helpdesk", "notify", "privacy")
}
