"""Limited storage: what is past its date goes, with its files, in pieces, and a legal hold outlives the date."""

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.db import TYPES, Database, TenantRow, service_metadata, uuid7
from shared.privacy import retention
from shared.privacy.manifest import Manifest
from shared.privacy.marks import Erase, Export, Row, Sweep, not_personal, person_ref, personal, subject
from shared.privacy.tables import file_deletions, holds, tenants

NOW = datetime(2026, 11, 24, tzinfo=UTC)
OLD, YOUNG = date(2020, 1, 1), date(2026, 11, 1)
KEPT: dict[str, Any] = {"export": Export.ACCESS, "purpose": "lockers", "basis": "contract", "keep": "1 year"}
PAST = "kept_on < :now - interval '1 year'"


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = TYPES


class Locker(TenantRow, Base):
    __tablename__ = "lockers"
    __table_args__ = ({"info": subject("account_id", row=Row.DELETE, sweep=Sweep("1 year", PAST))},)
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    account_id: Mapped[UUID] = mapped_column(info=person_ref(erase=Erase.DELETE_ROW))
    photo: Mapped[str] = mapped_column(info=personal("file.photo", erase=Erase.DELETE_ROW, **KEPT))
    kept_on: Mapped[date] = mapped_column(info=not_personal("date"))


class Badge(TenantRow, Base):
    """Its sweep says nothing about rows that are empty already: the engine must come to an end all the same."""

    __tablename__ = "badges"
    __table_args__ = (
        {"info": subject("account_id", row=Row.KEEP, orphan="a number", sweep=Sweep("1 year", PAST, action="erase"))},
    )
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    account_id: Mapped[UUID | None] = mapped_column(info=person_ref(erase=Erase.NULL))
    label: Mapped[str] = mapped_column(info=personal("identity.name", erase=Erase.GENERALIZE, to="it's gone", **KEPT))
    kept_on: Mapped[date] = mapped_column(info=not_personal("date"))


MANIFEST = Manifest.of("lockers", Base.metadata)


@pytest.fixture
async def database(make_database: Any) -> Database:
    database: Database = await make_database(Base.metadata)
    return database


async def move_in(database: Database, *, slug: str, is_active: bool = True) -> tuple[UUID, UUID]:
    """Return a tenant and a member of it with one old and one young row in each table."""
    tenant, member = uuid7(), uuid7()
    async with database.transaction(tenant) as session:
        space = {"tenant_id": tenant, "slug": slug, "languages": "fr", "default_language": "fr", "time_zone": "UTC"}
        await session.execute(tenants.insert().values(**space, is_active=is_active))
        for kept_on in (OLD, YOUNG):
            session.add(Locker(tenant_id=tenant, account_id=member, photo=f"{member}-{kept_on}", kept_on=kept_on))
            session.add(Badge(tenant_id=tenant, account_id=member, label="Nora", kept_on=kept_on))
    return tenant, member


async def count(database: Database, tenant: UUID, query: str) -> int:
    async with database.transaction(tenant) as session:
        return int(await session.scalar(text(f"SELECT count(*) FROM {query}")) or 0)


def by_table(found: list[retention.Due]) -> dict[str, int]:
    return {due.table: due.count for due in found if due.count}


async def test_a_dry_run_counts_and_changes_nothing(database: Database) -> None:
    tenant, _ = await move_in(database, slug="here")
    assert by_table(await retention.preview(database, MANIFEST, now=NOW)) == {"lockers": 1, "badges": 1}
    assert by_table(await retention.preview(database, MANIFEST, now=NOW)) == {"lockers": 1, "badges": 1}
    assert await count(database, tenant, "lockers") == 2


async def test_what_is_past_its_date_goes_with_its_file_everywhere(database: Database) -> None:
    here, member = await move_in(database, slug="here")
    gone, _ = await move_in(database, slug="gone", is_active=False)
    assert by_table(await retention.sweep(database, MANIFEST, now=NOW)) == {"lockers": 2, "badges": 2}
    for tenant in (here, gone):
        assert await count(database, tenant, "lockers") == 1
        assert await count(database, tenant, "badges WHERE label = 'it''s gone' AND account_id IS NULL") == 1
        assert await count(database, tenant, "badges WHERE label = 'Nora' AND account_id IS NOT NULL") == 1
    async with database.transaction() as session:
        paths = (await session.execute(file_deletions.select())).all()
    assert len(paths) == 2
    assert f"{member}-{OLD}" in {row.path for row in paths}
    assert by_table(await retention.preview(database, MANIFEST, now=NOW)) == {}


async def test_a_sweep_takes_files_and_rows_in_the_same_pieces(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 7)
    tenant, member = await move_in(database, slug="here")
    async with database.transaction(tenant) as session:
        crowd = "INSERT INTO lockers SELECT gen_random_uuid(), :m, n::text, :on, :t FROM generate_series(1, 50) n"
        crowd = crowd.replace("lockers", "lockers (id, account_id, photo, kept_on, tenant_id)")
        await session.execute(text(crowd), {"m": member, "on": OLD, "t": tenant})
    assert by_table(await retention.sweep(database, MANIFEST, now=NOW))["lockers"] == 51
    async with database.transaction() as session:
        paths = [row.path for row in await session.execute(file_deletions.select())]
    assert len(paths) == len(set(paths)) == 51


async def test_a_legal_hold_outlives_the_date(database: Database) -> None:
    tenant, member = await move_in(database, slug="here")
    async with database.transaction() as session:
        hold = {"tenant_id": tenant, "account_id": member, "ground": "litigation", "review_on": YOUNG}
        await session.execute(holds.insert().values(hold))
    assert by_table(await retention.sweep(database, MANIFEST, now=NOW)) == {}
    async with database.transaction() as session:
        await session.execute(holds.delete())
    assert by_table(await retention.sweep(database, MANIFEST, now=NOW)) == {"lockers": 1, "badges": 1}
