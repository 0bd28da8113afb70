"""What can go wrong at the help desk."""

from shared.problems import Conflict, NotFound, TooLarge, UnsupportedMediaType


class TicketNotFound(NotFound):
    """There is no such ticket that you can see."""


class AttachmentNotFound(NotFound):
    """There is no such attachment that you can see."""


class TicketClosed(Conflict):
    """This ticket is closed: open a new one and mention it."""


class StateNotAllowed(Conflict):
    """A ticket does not go from its present state to this one."""


class AttachmentTooLarge(TooLarge):
    """An attachment may have up to 10 MB."""


class AttachmentKindNotAllowed(UnsupportedMediaType):
    """Attach a picture (PNG, JPEG, WebP), a PDF or plain text."""
