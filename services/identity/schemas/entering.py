"""What people say and hear at the door: registration, signing in, links from mails."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, EmailStr, Field, StringConstraints

from shared.events.identity import Language, Role
from shared.http import In, Out

Email = Annotated[EmailStr, AfterValidator(str.lower), Field(max_length=254, examples=["ada@example.com"])]
# Spaces are part of a password: it is the one text that is never trimmed.
Password = Annotated[
    str, StringConstraints(min_length=1, max_length=256, strip_whitespace=False), Field(examples=["Violet-Rhubarb-42!"])
]
Token = Annotated[str, Field(min_length=20, max_length=200, description="`token` of the mailed link")]
Code = Annotated[str, Field(min_length=6, max_length=11, examples=["123456"])]


class RegistrationIn(In):
    email: Email
    password: Password
    language: Language | None = None


class AcceptedOut(Out):
    """The same answer whether or not the address is known: the mail says more."""

    status: Literal["check_your_mail"] = "check_your_mail"


class VerificationIn(In):
    """The password chosen at registration keeps out who registered somebody else's address."""

    token: Token
    password: Password


class SignInIn(In):
    email: Email
    password: Password
    code: Code | None = Field(None, description="of the authenticator app, or a recovery code")


class TokensOut(Out):
    """`is_restricted`: this session can only change the password, because it is expired, too weak or demanded."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 (a scheme, no secret)
    expires_in: int = Field(description="seconds")
    refresh_token: str
    session_id: UUID
    account_id: UUID
    tenant_id: UUID
    roles: list[Role]
    language: Language
    is_restricted: bool


class RefreshIn(In):
    refresh_token: Annotated[str, Field(min_length=50, max_length=300)]


class ResetRequestIn(In):
    email: Email


class NewPasswordIn(In):
    token: Token
    new_password: Password


class AcceptanceIn(In):
    token: Token
    password: Password


class LinkTokenIn(In):
    token: Token


class PasswordChangeIn(In):
    current_password: Password
    new_password: Password


class ConfirmationIn(In):
    password: Password
    code: Code | None = Field(None, description="needed where a second factor is set up")


class SteppedUpOut(Out):
    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 (a scheme, no secret)
    expires_in: int = Field(description="seconds")


class SessionOut(Out):
    id: UUID
    device: str
    address: str
    created_at: datetime
    last_used_at: datetime
    is_current: bool


class SessionsOut(Out):
    data: list[SessionOut]


class SecurityEntryOut(Out):
    id: UUID
    happening: str
    happened_at: datetime
    device: str
    address: str


class EmailChangeIn(In):
    new_email: Email


class FactorOut(Out):
    """Shown once; the factor counts after PUT /second-factor/confirmation with a first code."""

    secret: str
    uri: str = Field(description="otpauth:// address for a QR code")


class CodeIn(In):
    code: Code


class RecoveryCodesOut(Out):
    """Shown once; each replaces the app's code one time."""

    codes: list[str]
