"""The feed service, wired."""

from services.feed.api import router
from services.feed.consumers import consumers
from services.feed.models import Base
from services.feed.personal_data import PERSONAL_DATA
from services.feed.settings import Settings
from shared.auth import FetchKeys
from shared.service import Service


def create_service(settings: Settings, *, fetch_keys: FetchKeys | None = None) -> Service:
    return Service(
        "feed",
        settings,
        metadata=Base.metadata,
        router=router,
        consumers=consumers,
        personal_data=PERSONAL_DATA,
        fetch_keys=fetch_keys,
    )
