"""What documents say besides their content, in each of their languages."""

import tomllib
from functools import cache
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"


@cache
def words_of(language: str) -> dict[str, dict[str, str]]:
    """Return a language's words by section and name."""
    return tomllib.loads((TEMPLATES / f"words.{language}.toml").read_text())
