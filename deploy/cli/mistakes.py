"""Errors that an operator can put right, in a line each: what is not configured, away, or refuses us."""

import asyncpg
from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy.exc import DBAPIError

from deploy.cli.settings import problems_of
from deploy.embedded.folder import NotConfigured

FAILED, NOT_CONFIGURED = 1, 2


def explain(error: Exception) -> tuple[str | None, int]:
    """Return what to say and the exit code; None for an error that is ours. Addresses with passwords are never shown."""
    match error:
        case ValidationError():
            return f"not configured: {', '.join(problems_of(error))}", NOT_CONFIGURED
        case NotConfigured() | SettingsError() | FileNotFoundError() | PermissionError():
            return f"not configured: {error}", NOT_CONFIGURED
        case EOFError():
            return "nobody is there to ask: give --yes", FAILED
        case DBAPIError() | asyncpg.PostgresError() | asyncpg.InterfaceError():
            # A database's own words may quote rows.
            cause = getattr(error, "orig", None) or error
            return f"a database does not answer as it should: {type(cause).__name__}", FAILED
        case ConnectionError() | TimeoutError():
            return f"not reachable: {error}", FAILED
        case OSError():
            return str(error), FAILED
        case _:
            return None, FAILED
