"""One suite for every test of the doctor, and short ways to what it finds."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from deploy.doctor.findings import Report, SaidFinding
from tests.support.patient import Patient


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
