"""Identity's tables."""

from services.identity.models.accounts import (
    Account,
    AccountState,
    Deactivation,
    DeactivationStage,
    EmailChange,
    PasswordDemand,
    PastPassword,
    Profile,
    RecoveryCode,
    SecondFactor,
)
from services.identity.models.base import Base
from services.identity.models.sessions import Attempts, Happening, Link, SecurityEntry, SessionRow
from services.identity.models.tenants import SigningKey, TenantSettings

__all__ = [
    "Account",
    "AccountState",
    "Attempts",
    "Base",
    "Deactivation",
    "DeactivationStage",
    "EmailChange",
    "Happening",
    "Link",
    "PasswordDemand",
    "PastPassword",
    "Profile",
    "RecoveryCode",
    "SecondFactor",
    "SecurityEntry",
    "SessionRow",
    "SigningKey",
    "TenantSettings",
]
