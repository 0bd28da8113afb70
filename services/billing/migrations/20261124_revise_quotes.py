"""revise quotes: a later version of an offer keeps its number"""

import sqlalchemy as sa
from alembic import op

revision = "20261124_revise_quotes"
down_revision = "20261124_number_in_one_series"


def upgrade() -> None:
    op.add_column("quotes", sa.Column("revision", sa.Integer(), server_default="1", nullable=False))
    op.drop_constraint("uq_quotes_tenant_id_year_number", "quotes")
    op.create_unique_constraint(
        "uq_quotes_tenant_id_year_number_revision", "quotes", ["tenant_id", "year", "number", "revision"]
    )
