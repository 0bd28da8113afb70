"""empty deleted words that an edit at the same moment has filled again"""

from alembic import op

revision = "20261130_empty_deleted_words"
down_revision = "20261124_create_feed"

REPAIRS = (
    "DELETE FROM edits WHERE words_id IN (SELECT id FROM posts WHERE deleted_at IS NOT NULL"
    " UNION ALL SELECT id FROM comments WHERE deleted_at IS NOT NULL)",
    "UPDATE posts SET body = NULL WHERE deleted_at IS NOT NULL AND body IS NOT NULL",
    "UPDATE comments SET body = NULL WHERE deleted_at IS NOT NULL AND body IS NOT NULL",
)


def upgrade() -> None:
    for repair in REPAIRS:
        op.execute(repair)
