"""The doctor on what runs: clocks, the broker, backlogs, keys, mail, files, erasures."""

import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import text

from deploy.doctor import storage
from deploy.doctor.findings import EXIT_CODES, Report
from deploy.suite import subscriptions
from deploy.topology import declare
from services.identity.keyring import add_key
from services.identity.secrecy import Secrecy
from services.privacy.ledger import Entry, open_ledger
from shared.bus.parking import park_undecodable
from shared.db import Database, utc_now, uuid7
from shared.events import SERVICES
from tests.support.broker import delete_queues
from tests.support.clock import clock_off_by
from tests.support.ports import free_port
from tests.support.testing import wait_for

OTHER_SECRET = "Qx7vR2mZ9kLpW4sT8yBnJ6hF3dGcA5eU"


@pytest.fixture
async def lone(patient: Any) -> AsyncIterator[str]:
    """A namespace whose queues are declared and that nobody consumes: a fault in it stays."""
    namespace = f"lone{uuid4().hex[:8]}"
    await declare(patient.node.url(), namespace=namespace, subscriptions=subscriptions())
    yield namespace
    await delete_queues(patient.node.url(), namespace, SERVICES)


@pytest.fixture
async def clone(databases: Any) -> AsyncIterator[Any]:
    """`urls, database = await clone("feed")`: a migrated database that no process works on."""
    opened: list[Database] = []

    async def make(service: str) -> tuple[Any, Database]:
        urls = await databases.clone(service)
        opened.append(Database(urls.app, pool_size=1))
        return urls, opened[-1]

    yield make
    for database in opened:
        await database.close()


@pytest.mark.parametrize(("hours", "code"), [(1, "ahead"), (-1, "behind")])
async def test_a_clock_that_is_wrong_is_found(patient: Any, only_problem: Any, hours: int, code: str) -> None:
    done = await patient.command("doctor", "clock", "--json", **clock_off_by(hours))
    found = only_problem(Report.model_validate_json(done.stdout))
    assert (found.code, done.returncode) == (code, 1)
    assert abs(found.facts["seconds"] - 3600) < 10
    assert "NTP" in found.remedy


async def test_a_broker_that_is_away_is_said_once(patient: Any, problems: Any) -> None:
    away = f"amqp://guest:guest@127.0.0.1:{free_port()}/"
    report = await patient.examine("broker", "topology", "consumers", COWORK_AMQP_URL=away)
    found = problems(report)
    assert found.keys() == {"broker.silent", "topology.not_checked", "consumers.not_checked"}
    assert "COWORK_AMQP_URL" in found["broker.silent"].remedy
    assert EXIT_CODES[report.level] == 1
    wrong = patient.node.url(password="wrong")
    assert "broker.refused" in problems(await patient.examine("broker", COWORK_AMQP_URL=wrong))


async def test_a_missing_queue_is_found_and_declared(patient: Any, lone: str, problems: Any) -> None:
    async with await aio_pika.connect(patient.node.url()) as connection, connection.channel() as channel:
        await channel.queue_delete(f"{lone}.notify.in")
    report = await patient.examine("topology", COWORK_NAMESPACE=lone)
    found = problems(report)
    assert found["topology.queue_missing"].facts["queues"] == [f"{lone}.notify.in"]
    assert found["topology.queue_missing"].remedy.startswith("cowork topology")
    assert EXIT_CODES[report.level] == 1
    mended = await patient.examine("topology", fixes=True, COWORK_NAMESPACE=lone)
    assert (mended.level, {one.is_done for one in mended.repairs}) == ("ok", {True})


async def test_a_namespace_that_was_never_declared_is_found_and_declared(patient: Any, problems: Any) -> None:
    namespace = f"new{uuid4().hex[:8]}"
    try:
        found = problems(await patient.examine("topology", "unroutable", COWORK_NAMESPACE=namespace))
        assert found["topology.exchange_missing"].facts["exchanges"] == [f"{namespace}.events", f"{namespace}.dead"]
        assert "unroutable.unbound" in found
        mended = await patient.examine("topology", "unroutable", fixes=True, COWORK_NAMESPACE=namespace)
        assert mended.level == "ok"
    finally:
        await delete_queues(patient.node.url(), namespace, SERVICES)


async def test_looking_declares_nothing(patient: Any, problems: Any) -> None:
    namespace = f"new{uuid4().hex[:8]}"
    for _ in range(2):
        found = problems(await patient.examine("topology", COWORK_NAMESPACE=namespace))
        assert {"topology.exchange_missing", "topology.queue_missing"} <= found.keys()


async def test_a_queue_with_other_arguments_is_found_and_left_as_it_is(patient: Any, lone: str, problems: Any) -> None:
    name = f"{lone}.feed.dead"
    async with await aio_pika.connect(patient.node.url()) as connection, connection.channel() as channel:
        await channel.queue_delete(name)
        await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 7})
    report = await patient.examine("topology", fixes=True, COWORK_NAMESPACE=lone)
    found = problems(report)["topology.arguments"]
    assert (found.about, found.facts["queue"], found.facts["argument"]) == (["feed"], name, "x-delivery-limit")
    assert "outbox redrive" in found.remedy
    repairs = await patient.examine("topology", fixes=True, COWORK_NAMESPACE=lone)
    assert repairs.level == "failed", "a queue that may hold events is nobody's to delete"


async def test_a_missing_binding_is_found_and_declared(patient: Any, lone: str, problems: Any) -> None:
    event = "identity.account.deactivated.v1"
    async with await aio_pika.connect(patient.node.url()) as connection, connection.channel() as channel:
        for service in SERVICES:
            queue = await channel.get_queue(f"{lone}.{service}.in")
            await queue.unbind(f"{lone}.events", routing_key=event)
    report = await patient.examine("topology", "unroutable", COWORK_NAMESPACE=lone)
    found = problems(report)
    assert event in found["topology.binding_missing"].facts["events"]
    assert found["unroutable.unbound"].facts["events"] == [event]
    assert found["unroutable.unbound"].remedy == "cowork topology"
    assert EXIT_CODES[report.level] == 1
    assert (await patient.examine("topology", "unroutable", fixes=True, COWORK_NAMESPACE=lone)).level == "ok"


async def test_what_cannot_be_compared_is_said(patient: Any, problems: Any) -> None:
    report = await patient.examine("topology", "unroutable", without=("COWORK_RABBITMQ_MANAGEMENT_URL",))
    found = problems(report)
    assert found.keys() == {"topology.bindings_unread", "unroutable.bindings_unread"}
    assert "COWORK_RABBITMQ_MANAGEMENT_URL" in found["topology.bindings_unread"].remedy
    assert EXIT_CODES[report.level] == 3
    wrong = patient.management_url.replace("guest:guest", "guest:wrong")
    refused = problems(await patient.examine("topology", COWORK_RABBITMQ_MANAGEMENT_URL=wrong))
    assert "refuses" in refused["topology.bindings_unread"].found


async def test_a_queue_that_nobody_consumes_and_dead_letters_are_found(patient: Any, lone: str, problems: Any) -> None:
    async with await aio_pika.connect(patient.node.url()) as connection, connection.channel() as channel:
        await channel.default_exchange.publish(aio_pika.Message(b"x"), routing_key=f"{lone}.billing.dead")

    async def dead_letters() -> Any:
        return problems(await patient.examine("consumers", COWORK_NAMESPACE=lone)).get("consumers.dead_letters")

    found = await wait_for(dead_letters, what="the dead letter")
    assert found.about == ["billing"]
    assert "cowork dlq list billing" in found.remedy
    report = await patient.examine("consumers", COWORK_NAMESPACE=lone)
    assert len([one for one in report.findings if one.code == "nobody"]) == len(SERVICES)
    assert EXIT_CODES[report.level] == 3


@pytest.mark.parametrize(("minutes", "code"), [(1, 3), (10, 1)])
async def test_an_old_event_in_the_outbox_is_found(
    patient: Any, clone: Any, only_problem: Any, minutes: int, code: int
) -> None:
    urls, database = await clone("feed")
    late = f"now() - interval '{minutes} minutes'"
    async with database.transaction() as session:
        await session.execute(text(f"INSERT INTO outbox (position, key, created_at) VALUES (1, 'x', {late})"))
    report = await patient.examine("outbox", COWORK_FEED_DATABASE_URL=urls.app)
    found = only_problem(report)
    assert (found.code, found.about, EXIT_CODES[report.level]) == ("old", ["feed"], code)
    assert "cowork outbox status" in found.remedy


async def test_a_delivery_that_nobody_handles_is_found(patient: Any, clone: Any, only_problem: Any) -> None:
    urls, database = await clone("feed")
    late = (
        "INSERT INTO inbox_waiting (event_id, key, body, received_at) VALUES (:id, 'x', 'x', now() - interval '1 hour')"
    )
    async with database.transaction() as session:
        await session.execute(text(late), {"id": uuid7()})
    found = only_problem(await patient.examine("inbox", COWORK_FEED_DATABASE_URL=urls.app))
    assert (found.code, found.facts["count"]) == ("old", 1)


async def test_a_dead_event_is_found(patient: Any, clone: Any, only_problem: Any) -> None:
    urls, database = await clone("feed")
    async with database.transaction() as session:
        await park_undecodable(session, b"no event", reason="undecodable")
    report = await patient.examine("parked", COWORK_FEED_DATABASE_URL=urls.app)
    found = only_problem(report)
    assert (found.code, found.facts["count"], EXIT_CODES[report.level]) == ("dead", 1, 3)
    assert found.remedy.startswith("cowork dlq list feed")


@pytest.mark.parametrize(
    ("days_ago", "code", "exit_code"), [(None, "none_yet", 3), (60, "old", 3), (-1, "none_signs", 1)]
)
async def test_a_key_that_does_not_serve_is_found(
    patient: Any, clone: Any, only_problem: Any, days_ago: int | None, code: str, exit_code: int
) -> None:
    urls, database = await clone("identity")
    secrecy = Secrecy(patient.suite.secrets.key_secret)
    if days_ago is not None:
        async with database.transaction() as session:
            await add_key(session, secrecy, signs_from=utc_now() - timedelta(days=days_ago))
    report = await patient.examine("signing_key", COWORK_IDENTITY_DATABASE_URL=urls.app)
    found = only_problem(report)
    assert (found.code, EXIT_CODES[report.level]) == (code, exit_code)
    assert found.remedy


async def test_a_secret_that_does_not_open_the_key_is_found(patient: Any, only_problem: Any) -> None:
    report = await patient.examine("signing_key", COWORK_IDENTITY_KEY_SECRET=OTHER_SECRET)
    assert (only_problem(report).code, EXIT_CODES[report.level]) == ("sealed", 1)


async def test_keys_that_are_not_the_published_ones_are_found(patient: Any, clone: Any, only_problem: Any) -> None:
    urls, _ = await clone("identity")
    found = only_problem(await patient.examine("jwks", COWORK_IDENTITY_DATABASE_URL=urls.app))
    assert (found.code, found.facts["held"]) == ("other_keys", 0)
    addresses = {**json.loads(patient.environment["COWORK_INTERNAL_URLS"])}
    addresses["identity"] = f"http://127.0.0.1:{free_port()}"
    found = only_problem(await patient.examine("jwks", COWORK_INTERNAL_URLS=json.dumps(addresses)))
    assert found.code == "silent"
    assert "COWORK_INTERNAL_URLS" in found.remedy


async def test_a_mail_server_that_is_down_or_speaks_no_tls_is_found(patient: Any, only_problem: Any) -> None:
    report = await patient.examine("smtp", COWORK_NOTIFY_SMTP_PORT=str(free_port()))
    found = only_problem(report)
    assert (found.code, EXIT_CODES[report.level]) == ("silent", 1)
    assert "COWORK_NOTIFY_SMTP_HOST" in found.remedy
    found = only_problem(await patient.examine("smtp", COWORK_NOTIFY_SMTP_STARTTLS="true"))
    assert found.code == "no_starttls"
    without = ("COWORK_NOTIFY_SMTP_HOST",)
    found = only_problem(await patient.examine("smtp", without=without, COWORK_NOTIFY_OUTBOX_PAGE="false"))
    assert found.code == "no_server"


async def test_a_certificate_of_nobody_and_a_refused_login_are_found(
    patient: Any, only_problem: Any, tmp_path: Path
) -> None:
    with mail_server(tls_context=self_signed(tmp_path)) as port:
        variables = {"COWORK_NOTIFY_SMTP_PORT": str(port), "COWORK_NOTIFY_SMTP_STARTTLS": "true"}
        assert only_problem(await patient.examine("smtp", **variables)).code == "bad_tls"

    def refuse(*_: Any) -> AuthResult:
        return AuthResult(success=False, handled=False)

    with mail_server(authenticator=refuse, auth_require_tls=False) as port:
        variables = {"COWORK_NOTIFY_SMTP_PORT": str(port), "COWORK_NOTIFY_SMTP_USER": "somebody"}
        found = only_problem(await patient.examine("smtp", **variables, COWORK_NOTIFY_SMTP_PASSWORD=OTHER_SECRET))
        assert found.code == "login_refused"
        assert OTHER_SECRET not in found.model_dump_json()


@contextmanager
def mail_server(**options: Any) -> Iterator[int]:
    port = free_port()
    controller = Controller(object(), hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def self_signed(folder: Path) -> ssl.SSLContext:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.pem").write_bytes(private + certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "both.pem")
    return context


async def test_storage_that_cannot_be_written_is_found(patient: Any, problems: Any, tmp_path: Path) -> None:
    for service in SERVICES:
        (tmp_path / service).mkdir()
    (tmp_path / "feed").rmdir()
    (tmp_path / "billing").rmdir()
    # Nobody, not even root, can put a file there.
    (tmp_path / "billing").symlink_to("/sys/kernel")
    report = await patient.examine("storage", COWORK_FILES_URL=tmp_path.as_uri())
    found = problems(report)
    assert found["storage.no_folder"].about == ["feed"]
    assert found["storage.no_write"].about == ["billing"]
    assert "COWORK_FILES_URL" in found["storage.no_write"].remedy
    assert EXIT_CODES[report.level] == 1
    assert not [path for path in tmp_path.rglob("doctor*") if "sys" not in str(path)], "the probes are gone"


async def test_a_disk_that_is_nearly_full_is_found(
    patient: Any, only_problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LOW_BYTES", 2**62)
    assert only_problem(await patient.examine("disk")).code == "low"
    monkeypatch.setattr(storage, "FULL_BYTES", 2**62)
    report = await patient.examine("disk")
    assert (only_problem(report).code, EXIT_CODES[report.level]) == ("full", 1)


@pytest.mark.parametrize(("days_ago", "code", "exit_code"), [(40, "overdue", 1), (20, "near", 3), (2, None, 0)])
async def test_an_erasure_near_its_limit_is_found(
    patient: Any, clone: Any, problems: Any, days_ago: int, code: str | None, exit_code: int
) -> None:
    urls, database = await clone("privacy")
    tenant_id, case_id = uuid7(), uuid7()
    async with database.transaction(tenant_id) as session:
        values = {"tenant": tenant_id, "case": case_id, "days": days_ago}
        for statement in (
            "INSERT INTO tenants (tenant_id, slug, languages, default_language, time_zone)"
            " VALUES (:tenant, 'canal', 'fr', 'fr', 'Europe/Paris')",
            "INSERT INTO cases (id, tenant_id, account_id, is_tenant, reason, state, commanded_at, due_on, escalated_days,"
            " version) VALUES (:case, :tenant, NULL, true, 'x', 'awaiting_receipts', now() - make_interval(days => :days),"
            " (now() - make_interval(days => :days) + interval '1 month')::date, 0, 1)",
            "INSERT INTO answers (case_id, tenant_id, service, counts, retained, accounts)"
            " VALUES (:case, :tenant, 'billing', '[]', '[]', 0)",
        ):
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            await session.execute(text(statement), used)
    report = await patient.examine("erasures", COWORK_PRIVACY_DATABASE_URL=urls.app)
    found = problems(report)
    assert EXIT_CODES[report.level] == exit_code
    if code is None:
        assert not found
        return
    said = found[f"erasures.{code}"]
    assert (said.facts["case"], said.facts["waiting"]) == (str(case_id), ["billing"])
    assert said.remedy.startswith(f"cowork erasure status {case_id}")


async def test_a_ledger_that_was_changed_is_found(patient: Any, clone: Any, only_problem: Any) -> None:
    urls, _ = await clone("ledger")
    key = patient.suite.secrets.ledger_key
    variables = {"COWORK_PRIVACY_LEDGER_URL": urls.app, "COWORK_LEDGER_OWNER_URL": urls.owner}
    async with open_ledger(key, urls.app) as ledger:
        for _ in range(2):
            erased = ledger.digest(uuid7(), uuid7())
            await ledger.append(Entry(erased, outcome="completed", content="remove", erased_at=utc_now()))
    assert (await patient.examine("ledger", **variables)).findings[0].facts == {"count": 2}
    report = await patient.examine("ledger", **variables, COWORK_PRIVACY_LEDGER_KEY=OTHER_SECRET)
    found = only_problem(report)
    assert (found.code, EXIT_CODES[report.level]) == ("broken", 1)
    assert "cowork ledger verify" in found.remedy


async def test_a_ledger_that_is_away_behind_or_not_apart_is_found(patient: Any, clone: Any, only_problem: Any) -> None:
    address = f"postgresql+asyncpg://somebody:{OTHER_SECRET}@127.0.0.1:{free_port()}/cowork_ledger"
    found = only_problem(await patient.examine("ledger", COWORK_PRIVACY_LEDGER_URL=address))
    assert (found.code, "COWORK_PRIVACY_LEDGER_URL" in found.remedy) == ("silent", True)
    privacy = patient.suite.app_url("privacy")
    assert only_problem(await patient.examine("ledger", COWORK_PRIVACY_LEDGER_URL=privacy)).code == "not_apart"
    urls, _ = await clone("ledger")
    owner = Database(urls.owner, pool_size=1)
    async with owner.transaction() as session:
        await session.execute(text("DROP TABLE runs"))
    await owner.close()
    variables = {"COWORK_PRIVACY_LEDGER_URL": urls.app, "COWORK_LEDGER_OWNER_URL": urls.owner}
    found = only_problem(await patient.examine("ledger", **variables))
    assert (found.code, found.remedy) == ("behind", "cowork ledger migrate")
    assert only_problem(await patient.examine("backup", **variables)).code == "unknown"
