"""What can go wrong when a place is reserved."""

from shared.problems import Conflict, NotFound, Unprocessable


class LocationNotFound(NotFound):
    """There is no such location."""


class ResourceNotFound(NotFound):
    """There is no such room, desk or piece of equipment."""


class ReservationNotFound(NotFound):
    """There is no such reservation that you can see."""


class SlotTaken(Conflict):
    """Another reservation already covers part of this time; `nearest` lists free slots around it."""


class OutsideOpeningHours(Unprocessable):
    """The location is closed during part of this time."""


class DurationNotAllowed(Unprocessable):
    """This resource cannot be reserved for that long, that briefly, or in such steps."""


class TooLate(Unprocessable):
    """This time has begun or is over."""


class TooFarAhead(Unprocessable):
    """This resource cannot be reserved that far ahead."""


class NotCancellable(Conflict):
    """This reservation is over, denied or cancelled already."""


class AlreadyDecided(Conflict):
    """Somebody has decided on this request already."""


class RequestExpired(Conflict):
    """The requested time has begun without a decision: it can no longer be approved."""


class RequesterGone(Conflict):
    """Whoever asked for this has left: the request can only be denied."""


class UnknownTimeZone(Unprocessable):
    """The time zone is no IANA zone (such as Europe/Paris)."""
