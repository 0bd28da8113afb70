"""number in one series: a kind's numbers and chain go on from year to year, behind one row"""

import sqlalchemy as sa
from alembic import op

revision = "20261124_number_in_one_series"
down_revision = "20261124_freeze_documents"


def upgrade() -> None:
    op.execute("""
        DELETE FROM series s USING series later
        WHERE later.tenant_id = s.tenant_id AND later.kind = s.kind AND later.year > s.year
    """)
    op.add_column("series", sa.Column("last_on", sa.Date(), nullable=True))
    op.execute("UPDATE series SET last_on = least(make_date(year, 12, 31), current_date)")
    op.alter_column("series", "last_on", nullable=False)
    op.drop_constraint("pk_series", "series")
    op.create_primary_key("pk_series", "series", ["tenant_id", "kind"])
    op.drop_column("series", "year")
