"""close financial years: one seller a space, who says when its year closes; quotes say when they were accepted"""

import sqlalchemy as sa
from alembic import op

revision = "20261130_close_financial_years"
down_revision = "20261130_index_what_waits"


def upgrade() -> None:
    # Two first savings at once have left two sellers, and every reading since has failed: the later one stays.
    op.execute("""
        DELETE FROM sellers s USING sellers later
        WHERE later.tenant_id = s.tenant_id AND (later.version, later.id) > (s.version, s.id)
    """)
    op.create_unique_constraint("uq_sellers_tenant_id", "sellers", ["tenant_id"])
    op.execute("""
        CREATE FUNCTION kept_until(day date, closing_month integer) RETURNS date LANGUAGE sql IMMUTABLE STRICT AS $$
          SELECT (make_date(
            extract(year FROM day)::integer + CASE WHEN extract(month FROM day) > closing_month THEN 11 ELSE 10 END,
            closing_month, 1) + interval '1 month -1 day')::date
        $$
    """)
    op.add_column("quotes", sa.Column("accepted_on", sa.Date(), nullable=True))
    # Accepting has placed the order. By UTC and fourteen hours it is no earlier day than in any space.
    op.execute("""
        UPDATE quotes q SET accepted_on = coalesce(
          (SELECT (o.created_at AT TIME ZONE 'UTC' + interval '14 hours')::date FROM orders o WHERE o.id = q.order_id),
          q.valid_until)
        WHERE q.state = 'accepted'
    """)
    # Not the other way round as well: the version before accepts quotes without a day.
    op.create_check_constraint(op.f("ck_quotes_acceptance"), "quotes", "accepted_on IS NULL OR state = 'accepted'")
