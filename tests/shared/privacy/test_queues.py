"""Jobs ask where something waits: the answer crosses tenants, tells nothing but their ids, and costs by their number only."""

import os
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import Index, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.db import TYPES, Database, TenantRow, service_metadata, uuid7
from shared.privacy.marks import QUEUE, no_subject, not_personal
from shared.privacy.retention import tenant_ids
from shared.privacy.tables import tenants


class Base(DeclarativeBase):
    metadata = service_metadata()
    type_annotation_map = TYPES


class Parcel(TenantRow, Base):
    __tablename__ = "parcels"
    __table_args__ = (
        Index("ix_parcels_waiting", "tenant_id", "number", postgresql_where=text("state = 'waiting'"), info=QUEUE),
        {"info": no_subject("parcels")},
    )
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, info=not_personal("id"))
    number: Mapped[int] = mapped_column(info=not_personal("number"))
    state: Mapped[str] = mapped_column(info=not_personal("enum"))


@pytest.fixture
async def database(make_database: Any) -> Database:
    database: Database = await make_database(Base.metadata)
    return database


async def open_space(database: Database, slug: str, *, is_active: bool = True, **parcels: int) -> UUID:
    """Open a space with so many parcels in each state."""
    tenant_id = uuid7()
    row = {
        "tenant_id": tenant_id,
        "slug": slug,
        "languages": "fr",
        "default_language": "fr",
        "time_zone": "Europe/Paris",
        "is_active": is_active,
    }
    async with database.transaction(tenant_id) as session:
        await session.execute(tenants.insert(), row)
        for state, count in parcels.items():
            session.add_all(Parcel(tenant_id=tenant_id, number=number, state=state) for number in range(count))
    return tenant_id


async def test_only_spaces_where_something_waits_are_named(database: Database) -> None:
    busy = await open_space(database, "busy", waiting=3, fetched=2)
    await open_space(database, "quiet", fetched=4)
    await open_space(database, "empty")
    gone = await open_space(database, "gone", is_active=False, waiting=1)
    assert await tenant_ids(database, queue="ix_parcels_waiting") == [busy, gone]
    assert await tenant_ids(database, queue="ix_parcels_waiting", active_only=True) == [busy]
    async with database.transaction(busy) as session:
        await session.execute(text("UPDATE parcels SET state = 'fetched'"))
    assert await tenant_ids(database, queue="ix_parcels_waiting") == [gone]


async def test_a_question_that_names_no_queue_is_an_error_and_not_an_empty_answer(database: Database) -> None:
    with pytest.raises(Exception, match="tenants_in_ix_parcels_lost"):
        await tenant_ids(database, queue="ix_parcels_lost")


async def test_the_answer_does_not_read_what_waits(database: Database) -> None:
    busy = await open_space(database, "busy", waiting=2000, fetched=3000)
    other = await open_space(database, "other", waiting=1)
    superuser = await asyncpg.connect(os.environ["COWORK_RUN_PG_URL"], database=database.engine.url.database)
    await superuser.execute("ANALYZE parcels")
    await superuser.close()
    async with database.transaction() as session:
        found = await session.scalars(text("SELECT tenants_in_ix_parcels_waiting()"))
        assert set(found) == {busy, other}
        read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'parcels'"
        assert int(await session.scalar(text(read)) or 0) <= 10
