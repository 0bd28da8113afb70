"""The ledger's own database against its marks: every column is a hash, an enum, a number or an instant."""

import os
from typing import Any

import asyncpg

from services.privacy.ledger.database import ledger_differences
from services.privacy.ledger.tables import LEDGER
from shared.privacy.manifest import column_mark, table_mark
from shared.privacy.marks import NoSubject, NotPersonal

ALLOWED = {"bytea", "bigint", "timestamp with time zone"}
# A text column is an enum: a CHECK lists its values.
ENUMS = {"entries.outcome", "entries.content", "runs.kind"}
# The ledger's own name, made at random by its database.
NAME = {"origin.id"}


async def test_the_ledger_names_nobody_and_its_role_owns_nothing(databases: Any) -> None:
    urls = await databases.clone("ledger")
    assert await ledger_differences(urls.owner) == []
    superuser = await asyncpg.connect(os.environ["COWORK_RUN_PG_URL"], database=urls.app.rsplit("/", 1)[1])
    columns = await superuser.fetch(
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
        " AND table_name <> 'alembic_version'"
    )
    marks = {f"{t.name}.{c.name}": column_mark(c) for t in LEDGER.sorted_tables for c in t.columns}
    assert {f"{row['table_name']}.{row['column_name']}" for row in columns} == marks.keys()
    assert all(isinstance(mark, NotPersonal) for mark in marks.values())
    assert all(isinstance(table_mark(table), NoSubject) for table in LEDGER.sorted_tables)
    texts = {f"{row['table_name']}.{row['column_name']}" for row in columns if row["data_type"] not in ALLOWED}
    assert texts == ENUMS | NAME
    checked = await superuser.fetch("SELECT pg_get_constraintdef(oid) AS says FROM pg_constraint WHERE contype = 'c'")
    for name in ENUMS:
        assert any(f"{name.split('.')[1]} = ANY" in row["says"] for row in checked), name
    role = urls.app.split("//")[1].split(":")[0]
    owned = "SELECT count(*) FROM pg_class WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = $1)"
    assert await superuser.fetchval(owned, role) == 0
    await superuser.close()
