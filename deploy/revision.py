"""`python -m deploy.revision OWNER NAME`: write a migration from what the models have and the database lacks.

OWNER is a service, or "platform" for the tables that every service's database holds. The database is the migrated one that
COWORK_OWNER_URL names (the owner role's address).
"""

import asyncio
import os
import re
import sys
from datetime import date
from pathlib import Path

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from shared.db import PLATFORM
from shared.migrate import as_owner, context_of, folder_of, metadata_of


async def write_revision(owner: str, owner_url: str, name: str) -> Path:
    """Write a migration and return its path."""
    metadata = PLATFORM if owner == "platform" else metadata_of(owner)
    path = folder_of(owner) / f"{date.today():%Y%m%d}_{name}.py"

    def render(connection: Connection) -> None:
        operations = produce_migrations(context_of(connection, metadata), metadata)
        assert operations.upgrade_ops is not None
        body = _without_marks(render_python_code(operations.upgrade_ops))
        head = ScriptDirectory(str(folder_of(owner)), version_locations=[str(folder_of(owner))]).get_current_head()
        content = _TEMPLATE.format(title=name.replace("_", " "), revision=path.stem, previous=repr(head), body=body)
        path.write_text(content)

    await as_owner(owner_url, render)
    return path


def _without_marks(body: str) -> str:
    """Marks live on the models; a migration is frozen without them."""
    body = re.sub(r",\n\s*info=\{.*\}\n", "\n", body)
    return (
        body.replace("astext_type=Text()", "astext_type=sa.Text()")
        .replace("ARRAY(Uuid())", "ARRAY(sa.Uuid())")
        .replace("ARRAY(Text())", "ARRAY(sa.Text())")
    )


_TEMPLATE = '''"""{title}"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "{revision}"
down_revision = {previous}


def upgrade() -> None:
    {body}
'''


if __name__ == "__main__":
    if len(sys.argv) != 3 or "COWORK_OWNER_URL" not in os.environ:
        sys.exit(__doc__)
    print(asyncio.run(write_revision(sys.argv[1], os.environ["COWORK_OWNER_URL"], sys.argv[2])))
