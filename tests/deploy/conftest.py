"""One suite for every test of the doctor, and short ways to what it finds; and a place that can be backed up."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.backup.places import Place
from deploy.doctor.findings import Report, SaidFinding
from shared.events import SERVICES
from tests.support.patient import Patient
from tests.support.testing import DatabaseUrls


@pytest.fixture(scope="session")
async def patient() -> AsyncIterator[Patient]:
    folder = Path(tempfile.mkdtemp(prefix="cowork-doctor-"))
    folder.chmod(0o755)
    patient = Patient(folder)
    try:
        await patient.start()
        yield patient
    finally:
        await patient.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def problems() -> Callable[[Report], dict[str, SaidFinding]]:
    """Return {check.code: finding} of what is not ok."""
    return lambda report: {f"{one.check}.{one.code}": one for one in report.findings if one.level != "ok"}


@pytest.fixture
def only_problem() -> Callable[[Report], SaidFinding]:
    """Return the one finding that is not ok."""

    def find(report: Report) -> SaidFinding:
        (found,) = [one for one in report.findings if one.level != "ok"]
        return found

    return find


@pytest.fixture
async def urls(databases: Any) -> Mapping[str, DatabaseUrls]:
    return {name: await databases.clone(name) for name in (*SERVICES, "ledger")}


@pytest.fixture
def place(urls: Mapping[str, DatabaseUrls], tmp_path: Path) -> Place:
    owners = {name: found.owner for name, found in urls.items()}
    return Place(owners=owners, ledger_key="k" * 48, files_url=(tmp_path / "store").as_uri())
