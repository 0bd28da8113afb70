"""What can go wrong at the help desk."""

from shared.problems import Conflict, NotFound, TooLarge, Unprocessable, UnsupportedMediaType


class TicketNotFound(NotFound):
    """There is no such ticket that you can see."""


class AttachmentNotFound(NotFound):
    """There is no such attachment that you can see."""


class TicketClosed(Conflict):
    """This ticket is closed: open a new one and mention it."""


class RequesterErased(Conflict):
    """Whoever opened this ticket is erased: nothing more is written or stored about them."""


class UploadExpired(Conflict):
    """The file took too long to arrive: send it again."""


class NotStaff(Unprocessable):
    """Only a manager or an administrator of this space can be given a ticket."""


class StateNotAllowed(Conflict):
    """A ticket does not go from its present state to this one."""


class AttachmentTooLarge(TooLarge):
    """An attachment may have up to 10 MB."""


class AttachmentKindNotAllowed(UnsupportedMediaType):
    """Attach a picture (PNG, JPEG, WebP), a PDF or plain text."""
