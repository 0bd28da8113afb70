"""What is wrong with settings, said with the names of their variables; values are never shown."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import SettingsError

from shared.settings import FileSettings

Made = TypeVar("Made", bound=FileSettings)


def problems_of(error: ValidationError, *, prefix: str = "COWORK_") -> list[str]:
    """Return a line per variable that is missing or wrong: `COWORK_FILES_URL: Field required`."""
    return [f"{prefix}{str(one['loc'][0] if one['loc'] else '').upper()}: {one['msg']}" for one in error.errors()]


def read(make: Callable[[], Made], *, prefix: str = "COWORK_") -> tuple[Made | None, list[str]]:
    """Return settings, or None and a line for each thing that keeps them from being read (a file, JSON, a value)."""
    try:
        return make(), []
    except ValidationError as error:
        return None, problems_of(error, prefix=prefix)
    except (SettingsError, OSError, ValueError) as error:
        # pydantic's message names the field and shows no value; of JSON in a file, only the place of the mistake is said.
        return None, [f"{prefix}*: {error}"]
