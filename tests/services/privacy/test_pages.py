"""What people read says everything in their language."""

import pytest

from services.privacy.models import CaseState
from services.privacy.pages import VALUES, case_page
from shared.events import SERVICES
from shared.events.erasure import Outcome
from shared.migrate import metadata_of
from shared.privacy.manifest import table_mark
from shared.privacy.marks import Subject


def retained() -> set[str]:
    """The tables that services retain rows of, and the grounds."""
    tables = [table for service in SERVICES for table in metadata_of(service).sorted_tables]
    marks = {table.name: table_mark(table) for table in tables}
    kept = {name: mark.retention for name, mark in marks.items() if isinstance(mark, Subject) and mark.retention}
    return set(kept) | {retention.ground for retention in kept.values()}


@pytest.mark.parametrize("language", ["fr", "en"])
def test_every_state_answer_and_ground_has_words(language: str) -> None:
    assert {"documents", "legal_archive"} <= retained()
    assert {*CaseState, *Outcome, *retained()} - set(VALUES[language]) == set()


def test_a_case_on_its_way_is_told_in_french() -> None:
    answers = [
        {"service": "feed", "outcome": None, "retained": []},
        {"service": "billing", "outcome": "ON_HOLD", "retained": []},
    ]
    case = {"state": "on_hold", "completed_at": None, "due_on": "2026-12-31", "answers": answers}
    page = case_page(case, language="fr")
    assert "suspendu pour un motif légal" in page
    assert "attendue" in page
    assert "on_hold" not in page.lower()
