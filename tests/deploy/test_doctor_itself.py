"""The doctor itself: a check that fails is a finding, everything is said in both languages, and in the documented shape."""

import ast
import asyncio
import json
import re
import stat
import string
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.doctor.checks import CHECKS, Check, run_checks
from deploy.doctor.examination import check_names, examine
from deploy.doctor.findings import EXIT_CODES, Finding, Level, Report, failed, merged, ok, warning, worst
from deploy.doctor.site import NotChecked, Site, survey
from deploy.doctor.words import COMMON, Language, default_language, say, words
from shared.events import SERVICES
from shared.migrate import ROOT
from tests.support.patient import environment
from tests.support.postbox import Postbox
from tests.support.spaces import open_space
from tests.support.suites import Embedded

DOCTOR = ROOT / "deploy" / "doctor"
LANGUAGES: tuple[Language, ...] = ("fr", "en")
OTHER_TABLES = {"levels", "columns", "report", "because", "repairs"}


@pytest.fixture
async def nowhere(tmp_path: Path) -> AsyncIterator[Site]:
    with environment({}):
        site = survey(tmp_path)
    yield site
    await site.close()


@pytest.fixture
def registered() -> Iterator[Any]:
    """Register a check for one test."""
    before = list(CHECKS)
    yield lambda work, seconds=5.0: CHECKS.append(Check("under_test", seconds, False, work))
    CHECKS[:] = before


async def test_a_check_that_raises_is_a_finding_that_names_it_and_quotes_nothing(
    nowhere: Site, registered: Any
) -> None:
    async def raise_(_: Site) -> list[Finding]:
        raise RuntimeError("postgresql://somebody:hush@host/")

    registered(raise_)
    (found,) = await run_checks(nowhere, ["under_test"])
    assert (found.check, found.level, found.code) == ("under_test", Level.FAILED, "raised")
    assert "RuntimeError" in say(found, "en").found
    assert "hush" not in str(found)


async def test_a_check_that_does_not_end_is_a_finding_and_holds_up_no_other(nowhere: Site, registered: Any) -> None:
    async def wait(_: Site) -> list[Finding]:
        await asyncio.sleep(60)
        return []

    async def answer(_: Site) -> list[Finding]:
        return [ok()]

    registered(wait, 0.1)
    registered(answer)
    found = await run_checks(nowhere, ["under_test"])
    assert [one.code for one in found] == ["timed_out", "ok"]


async def test_a_check_that_cannot_look_is_a_warning_with_its_reason(nowhere: Site, registered: Any) -> None:
    async def give_up(_: Site) -> list[Finding]:
        raise NotChecked("no_broker")

    registered(give_up)
    (found,) = await run_checks(nowhere, ["under_test"])
    assert found.level is Level.WARNING
    assert "RabbitMQ ne répond pas" in say(found, "fr").found


def test_the_worst_finding_decides_and_equal_ones_are_one_line() -> None:
    findings = [
        Finding(Level.OK, "ok", check="outbox", about=("feed",)),
        Finding(Level.WARNING, "old", {"count": 1, "seconds": 40}, "outbox", ("billing",)),
        Finding(Level.OK, "ok", check="outbox", about=("notify",)),
    ]
    assert [one.about for one in merged(findings)] == [("feed", "notify"), ("billing",)]
    assert EXIT_CODES[worst(findings)] == 3
    assert EXIT_CODES[worst([*findings, failed("x"), warning("y")])] == 1
    assert EXIT_CODES[worst([])] == 0


def test_both_languages_say_the_same_things_with_the_same_facts() -> None:
    french, english = (shape(words(language)) for language in LANGUAGES)
    assert french == english


def shape(said: Any) -> Any:
    """Replace every text by the names that it is filled with."""
    if isinstance(said, dict):
        return {name: shape(value) for name, value in said.items()}
    return {field for _, field, _, _ in string.Formatter().parse(said) if field is not None}


def test_every_code_has_words_and_no_words_are_left_over() -> None:
    known = words("en")
    assert known.keys() - OTHER_TABLES - {COMMON} == set(check_names())
    written = {code for path in DOCTOR.glob("*.py") for code in strings(path)}
    for check in check_names():
        for code in known[check]:
            assert code in written, f"{check}.{code} is said by nobody"
    called = {code for path in DOCTOR.glob("*.py") for code in codes(path)}
    said = {code for table in (COMMON, *check_names()) for code in known[table]}
    assert called <= said, called - said


def strings(path: Path) -> set[str]:
    """Every text constant of a module, and what a prefix is put before."""
    found = {
        n.value
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }
    return found | {f"no_{one}" for one in found}


def codes(path: Path) -> Iterator[str]:
    """The codes that a module gives as they stand: `failed("short", …)`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("ok", "warning", "failed") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant):
                yield first.value


def test_what_is_wrong_has_a_remedy_in_both_languages() -> None:
    fine = re.compile("^(ok|embedded|local|page_only|unused)$")
    for language in LANGUAGES:
        for check in (COMMON, *check_names()):
            for code, said in words(language)[check].items():
                assert bool(said.get("remedy")) != bool(fine.match(code)), f"{language}: {check}.{code}"


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({"LANG": "fr_FR.UTF-8"}, "fr"),
        ({"LANG": "en_GB.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LC_ALL": "fr_CA", "LANG": "en_US"}, "fr"),
        ({"LC_ALL": "", "LANG": "fr"}, "fr"),
        ({}, "en"),
    ],
)
def test_the_language_is_the_terminals(variables: dict[str, str], language: str) -> None:
    assert default_language(variables) == language


def test_the_documented_schema_is_the_reports() -> None:
    known = json.loads((ROOT / "docs" / "doctor.schema.json").read_text())
    assert known == Report.model_json_schema(mode="serialization"), "within a version, fields are only added"


async def test_a_spoilt_secrets_file_is_a_finding_that_does_not_quote_it(tmp_path: Path) -> None:
    for content in ('{"databases": {"feed": ["hush', '{"hush": 1}', "[]"):
        (tmp_path / "secrets.json").write_text(content)
        (tmp_path / "secrets.json").chmod(0o600)
        with environment({}):
            report = await examine(tmp_path, "en", names=["settings", "secrets", "secret_files", "databases"])
        assert [one.code for one in report.findings if one.check == "settings"] == ["unreadable"]
        assert "hush" not in report.model_dump_json()


async def test_an_embedded_installation_is_looked_at_by_its_folder() -> None:
    postbox = Postbox().start()
    with tempfile.TemporaryDirectory(prefix="cowork-doctor-embedded-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        embedded = Embedded(folder, postbox)
        await embedded.start()
        try:
            await open_space(embedded)
            with environment({}):
                report = await examine(folder, "en")
                assert {one.check for one in report.findings if one.level != "ok"} == {"backup", "drill"}, report
                assert {one.code for one in report.findings if one.check in ("broker", "topology")} == {"local"}
                (folder / "secrets.json").chmod(0o644)
                (found,) = (await examine(folder, "fr", names=["secret_files"])).findings
                assert (found.code, "cowork doctor --fix" in (found.remedy or "")) == ("exposed", True)
                mended = await examine(folder, "fr", names=["secret_files"], fixes=True)
                assert (mended.level, mended.repairs[0].is_done) == ("ok", True)
                assert stat.S_IMODE((folder / "secrets.json").stat().st_mode) == 0o600
        finally:
            await embedded.stop()
            postbox.stop()
        with environment({}):
            report = await examine(folder, "en", names=["databases", "disk"])
        silent = [one for one in report.findings if one.code == "silent"]
        assert [one.about for one in silent] == [[service] for service in SERVICES]
        assert "cowork run" in (silent[0].remedy or "")
