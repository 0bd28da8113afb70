"""A whole examination: survey, check, and with `--fix` repair and check again."""

import importlib
from collections.abc import Collection
from pathlib import Path

from deploy.doctor.checks import CHECKS, run_checks
from deploy.doctor.findings import Finding, Report, merged, worst
from deploy.doctor.repairs import Repair, repair
from deploy.doctor.site import survey
from deploy.doctor.words import Language, say
from shared.db import utc_now

# In the order of the report. Each registers its checks when it is imported.
MODULES = (
    "settings",
    "secrets",
    "databases",
    "rights",
    "broker",
    "backlogs",
    "keys",
    "mail",
    "storage",
    "ledger",
    "erasures",
)

for _module in MODULES:
    importlib.import_module(f"deploy.doctor.{_module}")


def check_names() -> list[str]:
    """Return the names of all checks, in the order of the report."""
    return [check.name for check in CHECKS]


async def examine(folder: Path, language: Language, *, names: Collection[str] = (), fixes: bool = False) -> Report:
    """Examine the installation in `folder`, or the environment's. `names` limits the checks; `fixes` repairs first."""
    where, findings = await _look(folder, names)
    repairs: list[Repair] = []
    if fixes:
        site = survey(folder)
        try:
            repairs = await repair(site, findings)
        finally:
            await site.close()
        # What was repaired is looked at with other eyes: nothing of the first look is kept.
        where, findings = await _look(folder, names) if repairs else (where, findings)
    return Report(
        examined_at=utc_now(),
        language=language,
        place=where,
        level=worst(findings),
        findings=[say(one, language) for one in merged(findings)],
        repairs=[one.said(language) for one in repairs],
    )


async def _look(folder: Path, names: Collection[str]) -> tuple[str, list[Finding]]:
    """Return what was looked at, and what was found there."""
    site = survey(folder)
    try:
        return site.where, await run_checks(site, names)
    finally:
        await site.close()
