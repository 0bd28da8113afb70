"""walk tenants"""

import sqlalchemy as sa
from alembic import op

revision = "20261125_walk_tenants"
down_revision = "20261124_create_platform"


def upgrade() -> None:
    op.add_column("erasures", sa.Column("step", sa.Integer(), nullable=True))
    op.add_column("erasures", sa.Column("next_block", sa.BigInteger(), nullable=True))
    op.add_column("erasures", sa.Column("last_block", sa.BigInteger(), nullable=True))
    # Open tenant cases begin again: what is erased already is not found twice.
    op.execute("UPDATE erasures SET step = -1 WHERE is_tenant AND answered_at IS NULL")
    op.drop_table("erasure_subjects")
