"""The doctor on what is configured: a healthy suite is well; each fault of settings, secrets and databases is found."""

import asyncio
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from sqlalchemy import make_url

from deploy.doctor.checks import CHECKS
from deploy.doctor.findings import EXIT_CODES, Report
from shared.migrate import ROOT
from tests.support.commands import cowork
from tests.support.ports import free_port

SCHEMA = ROOT / "docs" / "doctor.schema.json"
GOOD = "Qx7vR2mZ9kLpW4sT8yBnJ6hF3dGcA5eU"


async def test_a_healthy_suite_is_well_but_for_its_backups(patient: Any, problems: Any) -> None:
    done = await patient.command("doctor", "--json")
    report = Report.model_validate_json(done.stdout)
    assert problems(report).keys() == {"backup.unknown", "drill.unknown"}, done.stdout
    assert (done.returncode, report.level) == (3, "warning")
    assert {one.check for one in report.findings} == {check.name for check in CHECKS}
    jsonschema_rs.validate(json.loads(SCHEMA.read_text()), json.loads(done.stdout))


async def test_with_a_backup_and_a_drill_everything_is_well(patient: Any, problems: Any) -> None:
    note = (
        "INSERT INTO runs (kind, finished_at, databases, files, bytes, subjects) VALUES"
        " ('backup', now() - interval '3 hours', 8, 1, 1, 0), ('drill', now() - interval '200 days', 8, 1, 1, 0)"
    )
    async with patient.changed("ledger", note, "DELETE FROM runs"):
        found = problems(await patient.examine("backup", "drill"))
        assert found.keys() == {"drill.old"}
        assert found["drill.old"].remedy.startswith("cowork drill")
        await patient.change("ledger", "UPDATE runs SET finished_at = now()")
        report = await patient.examine()
        assert EXIT_CODES[report.level] == 0, problems(report)


async def test_nothing_secret_is_ever_shown(patient: Any) -> None:
    secrets = [v for name, v in patient.environment.items() if re.search("SECRET$|KEY$", name)]
    passwords = [p for pair in patient.suite.secrets.databases.values() for p in pair]
    shown = (await patient.examine()).model_dump_json()
    weak = (await patient.examine("secrets", COWORK_FEED_DIGEST_KEY="hunter2hunter2")).model_dump_json()
    broken = (await patient.examine(COWORK_FEED_POOL_SIZE="hunter2hunter2")).model_dump_json()
    for value in [*secrets, *passwords, "hunter2"]:
        assert value not in shown + weak + broken


async def test_a_check_that_is_not_there_is_a_usage_error(patient: Any) -> None:
    done = await patient.command("doctor", "nonsense", "--language", "fr")
    assert done.returncode == 2
    assert "pas de contrôle de ce nom" in done.stderr
    assert "row_security" in done.stderr


async def test_a_missing_setting_is_named(patient: Any, only_problem: Any) -> None:
    report = await patient.examine("settings", without=("COWORK_PRIVACY_LEDGER_KEY",))
    assert only_problem(report).remedy.startswith("Set each of COWORK_PRIVACY_LEDGER_KEY")
    assert EXIT_CODES[report.level] == 1


async def test_where_nothing_is_set_everything_is_named_in_the_terminals_language() -> None:
    done = await asyncio.to_thread(cowork, "doctor", LANG="fr_FR.UTF-8", COWORK_DATA="/nowhere")
    assert done.returncode == 1
    assert "Non défini : COWORK_PRIVACY_DATABASE_URL" in done.stdout
    assert "Quelque chose ne va pas." in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


async def test_a_setting_that_is_no_number_no_json_or_no_file_is_named(patient: Any, problems: Any) -> None:
    wrong = {"COWORK_FEED_POOL_SIZE": "many", "COWORK_IDENTITY_CLIENT_DIGESTS": "{"}
    wrong["COWORK_NOTIFY_SMTP_PASSWORD_FILE"] = "/nowhere/password"
    report = await patient.examine("settings", **wrong)
    said = " ".join(one.found for one in report.findings)
    for named in ("COWORK_FEED_POOL_SIZE", "COWORK_IDENTITY_CLIENT_DIGESTS", "/nowhere/password"):
        assert named in said
    assert EXIT_CODES[report.level] == 1


@pytest.mark.parametrize(
    ("value", "code"),
    [("short", "short"), ("abcabcabc" * 5, "repeated"), ("ChangeMe-" + GOOD, "wordlike"), ("0" * 40, "repeated")],
)
async def test_a_weak_secret_is_found(patient: Any, only_problem: Any, value: str, code: str) -> None:
    report = await patient.examine("secrets", COWORK_BILLING_DIGEST_KEY=value)
    found = only_problem(report)
    assert (found.code, found.about, EXIT_CODES[report.level]) == (code, ["billing"], 1)
    assert found.remedy.startswith("Set COWORK_BILLING_DIGEST_KEY")


async def test_two_services_with_the_same_secret_are_found(patient: Any, only_problem: Any) -> None:
    report = await patient.examine("secrets", COWORK_FEED_DIGEST_KEY=GOOD, COWORK_BILLING_DIGEST_KEY=GOOD)
    found = only_problem(report)
    assert (found.code, EXIT_CODES[report.level]) == ("equal", 1)
    assert set(found.facts["variables"]) == {"COWORK_FEED_DIGEST_KEY", "COWORK_BILLING_DIGEST_KEY"}


async def test_a_credential_that_identity_does_not_know_is_found(patient: Any, only_problem: Any) -> None:
    found = only_problem(await patient.examine("secrets", COWORK_FEED_CLIENT_SECRET=GOOD))
    assert (found.code, found.about) == ("client_unknown", ["feed"])
    assert "COWORK_IDENTITY_CLIENT_DIGESTS" in found.remedy


async def test_a_secret_file_that_others_can_read_is_found_and_closed(patient: Any, only_problem: Any) -> None:
    with tempfile.TemporaryDirectory(prefix="cowork-secret-") as name:
        folder, path = Path(name), Path(name) / "key"
        path.write_text(GOOD)
        path.chmod(0o644)
        folder.chmod(0o755)
        files = {"COWORK_FEED_DIGEST_KEY_FILE": str(path)}
        found = only_problem(await patient.examine("secret_files", **files))
        assert (found.code, found.facts["path"]) == ("exposed", str(path))
        assert "chmod" in found.remedy
        report = await patient.examine("secret_files", fixes=True, **files)
        assert (report.level, [one.is_done for one in report.repairs]) == ("ok", [True])
        assert path.stat().st_mode & 0o777 == 0o640
        path.chmod(0o644)
        folder.chmod(0o700)
        assert (await patient.examine("secret_files", **files)).level == "ok", "behind a closed folder"


async def test_a_database_that_does_not_answer_is_said_once(patient: Any, problems: Any) -> None:
    address = f"postgresql+asyncpg://somebody:{GOOD}@127.0.0.1:{free_port()}/cowork_feed"
    report = await patient.examine("databases", "outbox", "roles", "row_security", COWORK_FEED_DATABASE_URL=address)
    found = problems(report)
    assert found["databases.silent"].about == ["feed"]
    assert "COWORK_FEED_DATABASE_URL" in found["databases.silent"].remedy
    assert {code for code in found if code != "databases.silent"} == {
        "outbox.not_checked", "roles.not_checked", "row_security.not_checked",
    }  # fmt: skip
    assert EXIT_CODES[report.level] == 1


async def test_a_wrong_password_and_a_database_that_is_not_there_are_told_apart(patient: Any, problems: Any) -> None:
    right = patient.suite.app_url("feed")
    password = patient.suite.secrets.databases["feed"][1]
    wrong = right.replace(password, GOOD)
    assert "databases.refused" in problems(await patient.examine("databases", COWORK_FEED_DATABASE_URL=wrong))
    absent = make_url(right).set(database="cowork_nothing").render_as_string(hide_password=False)
    found = problems(await patient.examine("databases", COWORK_FEED_DATABASE_URL=absent))
    assert "cowork migrate feed" in found["databases.missing"].remedy


async def test_a_missing_extension_is_found(patient: Any, only_problem: Any) -> None:
    async with patient.changed("feed", "DROP EXTENSION btree_gist", "CREATE EXTENSION btree_gist"):
        report = await patient.examine("databases")
    found = only_problem(report)
    assert (found.code, found.about, EXIT_CODES[report.level]) == ("extensions", ["feed"], 1)
    assert "CREATE EXTENSION btree_gist" in found.remedy


async def test_row_security_that_is_off_is_found_and_renewed(patient: Any, only_problem: Any) -> None:
    await patient.change("feed", "ALTER TABLE posts DISABLE ROW LEVEL SECURITY")
    report = await patient.examine("row_security")
    found = only_problem(report)
    assert (found.code, found.about, found.facts["tables"]) == ("off", ["feed"], ["posts"])
    assert "cowork migrate feed" in found.remedy
    assert EXIT_CODES[report.level] == 1
    mended = await patient.examine("row_security", fixes=True)
    assert (mended.level, [(one.repair, one.about) for one in mended.repairs]) == ("ok", [("migrate", "feed")])
    again = await patient.examine("row_security", fixes=True)
    assert again.repairs == [], "nothing is left to mend"


async def test_a_policy_that_lets_everybody_see_everything_is_found(patient: Any, only_problem: Any) -> None:
    lax = "CREATE POLICY all_of_it ON tickets USING (true)"
    async with patient.changed("helpdesk", lax, "DROP POLICY all_of_it ON tickets"):
        found = only_problem(await patient.examine("row_security"))
    assert (found.code, found.facts["tables"]) == ("other_policy", ["tickets"])
    assert "DROP POLICY" in found.remedy


UNDO_SEARCH = (
    "UPDATE alembic_version SET version_num = '20261125_lead_indexes_by_account'"
    " WHERE version_num = '20261125_search_members'; DROP INDEX ix_profiles_search;"
    " DROP FUNCTION members_like(text[], text[])"
)


async def test_a_missing_migration_is_found_and_run(patient: Any, only_problem: Any) -> None:
    await patient.change("identity", UNDO_SEARCH)
    report = await patient.examine("migrations")
    found = only_problem(report)
    assert (found.code, found.about, EXIT_CODES[report.level]) == ("behind", ["identity"], 1)
    assert found.facts["revisions"] == ["20261125_search_members"]
    assert found.remedy == "cowork migrate identity"
    without_owner = await patient.examine("migrations", fixes=True, without=("COWORK_IDENTITY_OWNER_URL",))
    assert only_problem(without_owner).code == "different", "the tables alone tell"
    assert [one.is_done for one in without_owner.repairs] == [False]
    mended = await patient.examine("migrations", fixes=True)
    assert (mended.level, [one.is_done for one in mended.repairs]) == ("ok", [True])


@pytest.mark.parametrize(
    ("there", "back", "code", "remedy"),
    [
        (
            "GRANT CONNECT ON DATABASE cowork_billing TO cowork_feed_app",
            "REVOKE CONNECT ON DATABASE cowork_billing FROM cowork_feed_app",
            "cross_connect",
            "REVOKE CONNECT ON DATABASE cowork_billing",
        ),
        (
            "GRANT SELECT ON orders TO cowork_feed_app",
            "REVOKE SELECT ON orders FROM cowork_feed_app",
            "cross_grant",
            "REVOKE ALL ON ALL TABLES",
        ),
        (
            "ALTER ROLE cowork_billing_app BYPASSRLS",
            "ALTER ROLE cowork_billing_app NOBYPASSRLS",
            "powerful",
            "ALTER ROLE cowork_billing_app NOBYPASSRLS",
        ),
        (
            "GRANT cowork_billing_owner TO cowork_billing_app",
            "REVOKE cowork_billing_owner FROM cowork_billing_app",
            "member",
            "REVOKE cowork_billing_owner FROM cowork_billing_app",
        ),
        (
            "CREATE TABLE mine (x int); ALTER TABLE mine OWNER TO cowork_billing_app",
            "DROP TABLE mine",
            "owner",
            "COWORK_BILLING_DATABASE_URL",
        ),
    ],
)
async def test_a_role_that_can_do_too_much_is_found(
    patient: Any, only_problem: Any, there: str, back: str, code: str, remedy: str
) -> None:
    async with patient.changed("billing", there, back):
        report = await patient.examine("roles")
    found = only_problem(report)
    assert (found.code, found.about, EXIT_CODES[report.level]) == (code, ["billing"], 1)
    assert remedy in found.remedy
    assert (await patient.examine("roles")).level == "ok"
