"""index what waits by tenant"""

import sqlalchemy as sa
from alembic import op

revision = "20261130_index_what_waits"
down_revision = "20261124_create_privacy"


def upgrade() -> None:
    op.drop_index("ix_exports_waiting", "exports")
    op.create_index("ix_exports_waiting", "exports", ["tenant_id", "created_at"], postgresql_where=sa.text("state = 'waiting'"))
    op.drop_index("ix_cases_open", "cases")
    op.create_index("ix_cases_open", "cases", ["tenant_id", "commanded_at"], postgresql_where=sa.text("completed_at IS NULL"))
