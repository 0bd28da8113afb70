"""What notify accepts and returns."""

from datetime import datetime
from typing import Any
from uuid import UUID

from services.notify.kinds import Channel, Kind, Mode
from shared.http import In, Out


class NoticeOut(Out):
    """`about` holds the ids and dates of what happened; `url` leads there."""

    id: UUID
    kind: Kind
    about: dict[str, Any]
    url: str | None
    created_at: datetime
    seen_at: datetime | None
    read_at: datetime | None


class CountsOut(Out):
    unread: int
    unseen: int


class PreferenceIn(In):
    mode: Mode


class PreferenceOut(Out):
    kind: Kind
    channel: Channel
    mode: Mode
    is_mandatory: bool
