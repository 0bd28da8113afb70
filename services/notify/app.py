"""The notify service, wired."""

from services.notify.api import router
from services.notify.consumers import consumers
from services.notify.jobs import jobs
from services.notify.models import Base
from services.notify.personal_data import PERSONAL_DATA
from services.notify.settings import Settings
from shared.auth import FetchKeys
from shared.service import Service


def create_service(settings: Settings, *, fetch_keys: FetchKeys | None = None) -> Service:
    return Service(
        "notify",
        settings,
        metadata=Base.metadata,
        router=router,
        consumers=consumers,
        schedule=jobs,
        personal_data=PERSONAL_DATA,
        fetch_keys=fetch_keys,
    )
