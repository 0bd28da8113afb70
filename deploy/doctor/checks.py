"""The registry of checks, and how they run: all at once, each with its own time limit, none of them able to end the others."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from deploy.doctor.findings import Finding, failed, warning
from deploy.doctor.site import NotChecked, Site
from shared.events import SERVICES

SECONDS = 20.0

OfSuite = Callable[[Site], Awaitable[list[Finding]]]
OfService = Callable[[Site, str], Awaitable[list[Finding]]]


@dataclass(frozen=True, slots=True)
class Check:
    """`work` gets the site, and the service where the check is run once per service."""

    name: str
    seconds: float
    is_per_service: bool
    work: Callable[..., Awaitable[list[Finding]]]


CHECKS: list[Check] = []


def of_suite(name: str, *, seconds: float = SECONDS) -> Callable[[OfSuite], OfSuite]:
    """Register a check that runs once."""

    def register(work: OfSuite) -> OfSuite:
        CHECKS.append(Check(name, seconds, False, work))
        return work

    return register


def of_service(name: str, *, seconds: float = SECONDS) -> Callable[[OfService], OfService]:
    """Register a check that runs once for each service."""

    def register(work: OfService) -> OfService:
        CHECKS.append(Check(name, seconds, True, work))
        return work

    return register


async def run_checks(site: Site, names: Iterable[str] = ()) -> list[Finding]:
    """Run the named checks, or all, and return their findings in the order of the registry. Never raises."""
    wanted = set(names)
    runs: list[tuple[Check, tuple[str, ...]]] = [
        (check, about)
        for check in CHECKS
        if not wanted or check.name in wanted
        for about in ([(service,) for service in SERVICES] if check.is_per_service else [()])
    ]
    found = await asyncio.gather(*(_run(check, site, about) for check, about in runs))
    return [finding for findings in found for finding in findings]


async def _run(check: Check, site: Site, about: tuple[str, ...]) -> list[Finding]:
    arguments: list[Any] = [site, *about]
    try:
        async with asyncio.timeout(check.seconds):
            found = await check.work(*arguments)
    except NotChecked as error:
        found = [warning("not_checked", because=error.because)]
    except TimeoutError:
        found = [failed("timed_out", seconds=check.seconds)]
    except Exception as error:  # noqa: BLE001 (a check that fails is a finding; its text may quote a secret, its class not)
        found = [failed("raised", error=type(error).__name__)]
    return [replace(one, check=check.name, about=one.about or about) for one in found]
