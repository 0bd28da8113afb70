"""The doctor's French and English: `words.<language>.toml` holds, per check and code, what is found and the remedy."""

import os
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from deploy.doctor.findings import Fact, Finding, SaidFinding

Language = Literal["fr", "en"]
# Codes that every check may give.
COMMON = "any"


def default_language(environment: Mapping[str, str] = os.environ) -> Language:
    """Return the language that the terminal is set to (LC_ALL, LC_MESSAGES, LANG), English when it is neither."""
    chosen = next((v for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (v := environment.get(name))), "")
    return "fr" if chosen.lower().startswith("fr") else "en"


@cache
def words(language: Language) -> dict[str, dict[str, Any]]:
    """Return {check: {code: {found, remedy}}}, and the tables `levels`, `columns`, `because` and `repairs`."""
    return tomllib.loads((Path(__file__).parent / f"words.{language}.toml").read_text())


def say(finding: Finding, language: Language) -> SaidFinding:
    """Put a finding into words."""
    known = words(language)
    said = known.get(finding.check, {}).get(finding.code) or known[COMMON][finding.code]
    about = list(finding.about)
    values = {name: _shown(name, fact, language) for name, fact in finding.facts.items()}
    values |= {"about": ", ".join(about), "ABOUT": "_".join(about).upper()}
    remedy = said.get("remedy")
    return SaidFinding(
        check=finding.check,
        level=finding.level,
        code=finding.code,
        about=about,
        found=said["found"].format(**values),
        remedy=remedy.format(**values) if remedy else None,
        facts=dict(finding.facts),
    )


def _shown(name: str, fact: Fact, language: Language) -> str:
    if name == "because":
        return str(words(language)["because"][str(fact)])
    if isinstance(fact, list):
        return ", ".join(fact)
    return f"{fact:.0f}" if isinstance(fact, float) else str(fact)
