"""The kinds of notification: which can be switched off, which need consent, what each is about."""

from dataclasses import dataclass
from enum import StrEnum


class Channel(StrEnum):
    IN_APP = "in_app"
    EMAIL = "email"


class Mode(StrEnum):
    OFF = "off"
    INSTANT = "instant"


class Kind(StrEnum):
    LINK = "link"
    SECURITY = "security"
    PASSWORD_EXPIRING = "password_expiring"  # noqa: S105 (a kind, no secret)
    INACTIVITY = "inactivity"
    POLICY = "policy"
    EXPORT_READY = "export_ready"
    REQUEST = "request"
    REQUEST_EXTENDED = "request_extended"
    REQUEST_ANSWERED = "request_answered"
    RESERVATION_CONFIRMED = "reservation_confirmed"
    RESERVATION_CANCELLED = "reservation_cancelled"
    RESERVATION_REQUESTED = "reservation_requested"
    QUOTE = "quote"
    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"
    COMMENT = "comment"
    MENTION = "mention"
    ANNOUNCEMENT = "announcement"
    TICKET_OPENED = "ticket_opened"
    TICKET_REPLIED = "ticket_replied"
    TICKET_ASSIGNED = "ticket_assigned"
    TICKET_CLOSED = "ticket_closed"


@dataclass(frozen=True, slots=True)
class Rule:
    """`mandatory`: locked on. `consent`: e-mail only to those who have consented to communication.

    `resends`: after a crash in mid-send the mail goes out again under the same Message-ID.
    """

    mandatory: bool = False
    consent: bool = False
    in_app: bool = True
    email: bool = True
    resends: bool = False


RULES = {
    Kind.LINK: Rule(mandatory=True, in_app=False, resends=True),
    Kind.SECURITY: Rule(mandatory=True, resends=True),
    Kind.PASSWORD_EXPIRING: Rule(mandatory=True, resends=True),
    Kind.INACTIVITY: Rule(mandatory=True, resends=True),
    Kind.POLICY: Rule(mandatory=True),
    Kind.EXPORT_READY: Rule(mandatory=True),
    Kind.REQUEST: Rule(mandatory=True),
    Kind.REQUEST_EXTENDED: Rule(mandatory=True),
    Kind.REQUEST_ANSWERED: Rule(mandatory=True),
    Kind.INVOICE: Rule(mandatory=True),
    Kind.CREDIT_NOTE: Rule(mandatory=True),
    Kind.ANNOUNCEMENT: Rule(consent=True),
}
DEFAULT_RULE = Rule()


def rule_of(kind: Kind) -> Rule:
    return RULES.get(kind, DEFAULT_RULE)


def channels_of(kind: Kind) -> list[Channel]:
    """Return the channels that a kind can use."""
    rule = rule_of(kind)
    offered = [(Channel.IN_APP, rule.in_app), (Channel.EMAIL, rule.email)]
    return [channel for channel, is_offered in offered if is_offered]
