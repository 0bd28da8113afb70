"""What can go wrong with policies, requests, exports and erasure cases."""

from shared.problems import Conflict, NotFound


class PolicyNotFound(NotFound):
    """There is no such version of the policy."""


class TenantNotFound(NotFound):
    """There is no such space."""


class CaseNotFound(NotFound):
    """There is no such erasure case."""


class NotCompleted(Conflict):
    """This erasure is not completed yet; its certificate comes when every service has answered and was verified."""


class RequestNotFound(NotFound):
    """There is no such request that you can see."""


class RequestClosed(Conflict):
    """This request is answered already."""


class ExtensionTooLate(Conflict):
    """The month can be extended only once, and only before it ends (GDPR art. 12(3))."""


class GrantUnderWay(Conflict):
    """This request is being granted at this moment: wait for its answer."""

    retry_after_seconds = 2


class LastAdministrator(Conflict):
    """This is the last administrator: give another account the administrator role first, or deactivate the space."""


class ExportNotFound(NotFound):
    """There is no such export of yours, or it has expired."""


class ExportNotReady(Conflict):
    """This export is not finished yet."""
