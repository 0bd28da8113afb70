"""What can go wrong in identity, in the words of the person it happens to."""

from typing import Any

from shared.problems import (
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    Unprocessable,
    UnsupportedMediaType,
)


class WrongCredentials(Unauthenticated):
    """This e-mail address and password do not open an account here."""


class SecondFactorRequired(Unauthenticated):
    """Enter the code of your authenticator app, or a recovery code."""


class WrongCode(Unauthenticated):
    """This code is not valid (any more)."""


class SessionEnded(Unauthenticated):
    """This session has ended: sign in again."""


class TooManyAttempts(TooManyRequests):
    """Too many attempts from here: wait before the next one, or reset your password by mail."""

    def __init__(self, *, seconds: int, **members: Any) -> None:
        super().__init__(retry_after=seconds, **members)
        self.retry_after_seconds = seconds


class SignInBusy(Unavailable):
    """Very many people are signing in: try again in a moment."""


class OperatorOnly(Forbidden):
    """Only the operator of this installation opens a tenant."""


class UnknownTenant(NotFound):
    """There is no such space here."""


class UnknownAccount(NotFound):
    """There is no such account in your space."""


class UnknownSession(NotFound):
    """There is no such session among yours."""


class NoPicture(NotFound):
    """There is no such picture, or its address has expired."""


class SlugTaken(Conflict):
    """Another space already uses this short name."""


class LastAdministrator(Conflict):
    """This is the last administrator: give another account the administrator role first, or deactivate the space."""


class AlreadyMember(Conflict):
    """Somebody with this address already has an account in your space."""


class AlreadyDeactivating(Conflict):
    """This account is already being deactivated."""


class InvitationPending(Conflict):
    """This invitation was not accepted yet: withdraw it instead."""


class NotDeactivating(Conflict):
    """This account is not being deactivated, or it is too late to undo it."""


class SecondFactorPresent(Conflict):
    """A second factor is already set up: remove it first."""


class NoSecondFactor(Conflict):
    """There is no second factor that waits for this."""


class WrongConfirmation(Unprocessable):
    """Type the short name of your space to confirm."""


class WeakPassword(Unprocessable):
    """This password is not strong enough; `reasons` says what is missing."""


class WrongPassword(Forbidden):
    """This is not your present password."""


class LinkSpent(Gone):
    """This link was used, has expired or is not genuine: ask for a new one."""


class NotAPicture(UnsupportedMediaType):
    """Send a JPEG, PNG or WebP picture."""


class PictureTooLarge(Unprocessable):
    """The picture has more pixels than are accepted."""


class InvalidClient(BadRequest):
    """These client credentials are not valid."""


class ScopeRequired(Forbidden):
    """This service's token does not carry the scope that this needs."""
