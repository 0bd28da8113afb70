"""What is wrong with settings, said with the names of their variables; values are never shown."""

from pydantic import ValidationError


def problems_of(error: ValidationError, *, prefix: str = "COWORK_") -> list[str]:
    """Return a line per variable that is missing or wrong: `COWORK_FILES_URL: Field required`."""
    return [f"{prefix}{str(one['loc'][0] if one['loc'] else '').upper()}: {one['msg']}" for one in error.errors()]
