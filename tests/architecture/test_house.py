"""The rules that hold the house together (the import contracts are in pyproject.toml, run by `make check`)."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from deploy.map import stale

ROOT = Path(__file__).resolve().parents[2]
CODE = [
    p
    for folder in ("shared", "services", "deploy")
    for p in sorted((ROOT / folder).rglob("*.py"))
    if "migrations" not in p.parts
]
NAMES = {"utils.py", "helpers.py", "common.py", "misc.py", "base_service.py"}
# Longest function: SQL and DDL templates count as one line of thought, not of code.
# The design's budget was 3,000; docs/decisions/0012 has the figures.
LONGEST_FUNCTION, LONGEST_FILE, SHARED_BUDGET = 40, 400, 4450


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_only_sessions_and_the_bus_commit() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in CODE
        if re.search(r"\.commit\(|\.begin\(\)", path.read_text())
        and path.parts[-2:] not in (("shared", "db.py"), ("shared", "connections.py"))
    ]
    assert [name for name in found if not name.startswith(("shared/bus/", "shared/migrate.py"))] == []


def test_whoever_is_woken_exists() -> None:
    """`wake_after_commit(session, "…")` names a job: what is misspelt would wait for its next poll for ever unnoticed."""
    text = "".join(path.read_text() for path in CODE)
    woken = set(re.findall(r"wake_after_commit\(session, \"(\w+)\"\)", text))
    jobs = set(re.findall(r"@\w*jobs\.every\([^)]*\)\nasync def (\w+)\(", text))
    assert woken
    assert woken - jobs == set()


def test_jobs_that_run_often_ask_where_something_waits() -> None:
    """Whoever visits every space each second keeps a processor busy with nothing once there are a thousand of them."""
    wasteful, often = [], 0
    for path in (ROOT / "services").glob("*/jobs.py"):
        functions = {one.name: one for one in ast.parse(path.read_text()).body if isinstance(one, ast.AsyncFunctionDef)}
        for job in functions.values():
            schedules = [ast.unparse(one) for one in job.decorator_list]
            if not any(re.search(r"seconds=|minutes=[1-4]\b", one) for one in schedules):
                continue
            often += 1
            called = {one.id for one in ast.walk(job) if isinstance(one, ast.Name)}
            code = "".join(ast.unparse(one) for name, one in functions.items() if name in called | {job.name})
            if any("queue=" not in call for call in re.findall(r"tenant_ids\([^)]*\)", code)):
                wasteful.append(f"{path.relative_to(ROOT)}:{job.name}")
    assert often
    assert wasteful == []


def test_no_file_and_no_function_grows_too_long() -> None:
    long = []
    for path in CODE:
        text = path.read_text()
        if len(text.splitlines()) > LONGEST_FILE:
            long.append(str(path.relative_to(ROOT)))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}:{node.name} ({lines})")
    assert long == []


def test_shared_stays_within_its_budget() -> None:
    lines = 0
    for path in CODE:
        if path.is_relative_to(ROOT / "shared") and "events" not in path.parts:
            tree = ast.parse(path.read_text())
            documented = sum(
                (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
                for node in ast.walk(tree)
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and ast.get_docstring(node) is not None
            )
            code = [line for line in path.read_text().splitlines() if line.strip() and not line.strip().startswith("#")]
            lines += len(code) - documented
    assert lines <= SHARED_BUDGET


def test_every_shared_module_has_two_users() -> None:
    users = {path: path.read_text() for path in [*CODE, *(ROOT / "tests").rglob("*.py")]}
    lonely = []
    for path in CODE:
        if not path.is_relative_to(ROOT / "shared") or path.name == "__init__.py":
            continue
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        package, _, leaf = name.rpartition(".")
        wanted = re.compile(
            rf"{re.escape(name)}\b|from {re.escape(package)} import [^\n]*\b{leaf}\b|from {re.escape(package)} import \([^)]*\b{leaf}\b"
        )
        if sum(bool(wanted.search(text)) for user, text in users.items() if user != path) < 2:
            lonely.append(name)
    # One import is enough for a part of the bus, the privacy engine or the database: splitting a room is no new house.
    parts = ("shared.bus.", "shared.privacy.", "shared.events.", "shared.connections")
    assert [name for name in lonely if not name.startswith(parts)] == []


def test_no_room_is_called_utils() -> None:
    assert [p for p in tracked() if p.name in NAMES or (p.name == "service.py" and p.parent.name != "shared")] == []


def test_generated_blocks_are_current() -> None:
    assert stale() == [], "run: make map"


@pytest.mark.parametrize(
    "forbidden", [r"/work/", r"/root/", r"/opt/pypi", "pypi" + r"\.org", "regis" + r"try\.npmjs", r"\.\./sha" + "red"]
)
def test_nothing_names_this_machine_or_a_registry(forbidden: str) -> None:
    found = []
    for path in tracked():
        if path == Path(__file__).resolve() or path.suffix in {".png", ".svg"}:
            continue
        if re.search(forbidden, path.read_text(errors="replace")):
            found.append(str(path.relative_to(ROOT)))
    assert found == []


def test_decisions_are_short_and_numbered() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert records
    assert [r.name for r in records if not re.match(r"^\d{4}-[a-z0-9-]+\.md$", r.name)] == []
    assert [r.name for r in records if len(r.read_text().splitlines()) > 30] == []
