"""search members"""

from alembic import op

revision = "20261125_search_members"
down_revision = "20261125_lead_indexes_by_account"

# LIKE and word similarity are not leakproof: under row security no index may serve them. The owner asks the index
# instead, for the transaction's own tenant, and hands out ids only: what they show is read under row security again.
# Personal columns have no statistics: left to its guess, the planner reads every row of a middling space instead.
FUNCTION = r"""
CREATE FUNCTION members_like(contained text[], near text[]) RETURNS SETOF uuid LANGUAGE plpgsql STABLE
SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, public, pg_temp SET pg_trgm.word_similarity_threshold = 0.5
SET enable_seqscan = off SET enable_indexscan = off AS $$
DECLARE
 word text;
 pattern text;
 wanted text := 'SELECT account_id FROM public.profiles WHERE tenant_id = $1';
BEGIN
 FOREACH word IN ARRAY contained || near LOOP
  pattern := '%' || regexp_replace(word, '([\\%_])', '\\\1', 'g') || '%';
  IF word = ANY (near) THEN
   wanted := wanted || format(' AND (search_text LIKE %L OR %L <%% search_text)', pattern, word);
  ELSE
   wanted := wanted || format(' AND search_text LIKE %L', pattern);
  END IF;
 END LOOP;
 RETURN QUERY EXECUTE wanted USING nullif(current_setting('cowork.tenant', true), '')::uuid;
END $$
"""


def upgrade() -> None:
    op.execute("CREATE EXTENSION IF NOT EXISTS btree_gin")
    op.create_index(
        "ix_profiles_search",
        "profiles",
        ["tenant_id", "search_text"],
        postgresql_using="gin",
        postgresql_ops={"search_text": "gin_trgm_ops"},
    )
    op.execute(FUNCTION)
