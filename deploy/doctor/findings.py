"""What the doctor finds: first without words (a code and its facts), then said in a language, as a report.

`docs/doctor.schema.json` is the JSON Schema of `Report`; within a schema version fields are only added.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, Field

Fact = str | int | float | list[str]


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


# As everywhere in `cowork`: 0 all is well, 3 degraded, 1 failed.
EXIT_CODES = {Level.OK: 0, Level.WARNING: 3, Level.FAILED: 1}
_SEVERITY = list(Level)


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of a check. `about` names the services it concerns (none: the suite); facts are never secret or personal.

    `code` is stable and names the words, so that it can be said in any language.
    """

    level: Level
    code: str
    facts: Mapping[str, Fact] = field(default_factory=dict)
    check: str = ""
    about: tuple[str, ...] = ()


def ok(code: str = "ok", **facts: Fact) -> Finding:
    return Finding(Level.OK, code, facts)


def warning(code: str, *, about: str | None = None, **facts: Fact) -> Finding:
    return Finding(Level.WARNING, code, facts, about=(about,) if about else ())


def failed(code: str, *, about: str | None = None, **facts: Fact) -> Finding:
    return Finding(Level.FAILED, code, facts, about=(about,) if about else ())


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings in their order; where nothing is to be done service by service, those that say the same as one."""
    result: dict[Any, Finding] = {}
    for number, finding in enumerate(findings):
        together = bool(finding.about) and (finding.level is Level.OK or finding.code == "not_checked")
        key = (finding.check, finding.code, str(finding.facts)) if together else number
        known = result.get(key)
        result[key] = replace(known, about=known.about + finding.about) if known else finding
    return list(result.values())


def worst(findings: Iterable[Finding]) -> Level:
    """Return the highest level, OK for nothing at all."""
    return max((one.level for one in findings), key=_SEVERITY.index, default=Level.OK)


class SaidFinding(BaseModel):
    """One answer of one check, in words."""

    check: str = Field(description="the check's stable name")
    level: Level
    code: str = Field(description="what was found, stable within its check")
    about: list[str] = Field(description="the services it concerns; empty: the whole suite")
    found: str = Field(description="what was found, in the report's language; no secret, nothing personal")
    remedy: str | None = Field(description="a command, or the variable to set; null where there is nothing to do")
    facts: dict[str, Fact] = Field(description="the figures and names behind the words")


class SaidRepair(BaseModel):
    """One thing that `--fix` has done, or could not do."""

    repair: str
    about: str = Field(description="a service, a file, or empty: the whole suite")
    is_done: bool
    said: str


class Report(BaseModel):
    """A whole examination. Exit code: 0 for ok, 3 for warning, 1 for failed."""

    schema_version: Literal[1] = 1
    examined_at: datetime
    language: Literal["fr", "en"]
    place: str = Field(
        description="what was examined: a data folder, or host and port of each database server; empty for nothing configured"
    )
    level: Level = Field(description="the highest level of all findings")
    findings: list[SaidFinding] = Field(description="in the order of the checks; what is well is there, too")
    repairs: list[SaidRepair] = Field(description="what --fix did before this examination; empty without it")
