"""What can go wrong with notifications."""

from shared.problems import BadRequest, Conflict, NotFound


class NoticeNotFound(NotFound):
    """There is no such notification of yours."""


class KindIsMandatory(Conflict):
    """This kind cannot be switched off: it is about your security, your invoices or your rights."""


class InvalidUnsubscribeLink(BadRequest):
    """This unsubscribe link is not genuine."""
