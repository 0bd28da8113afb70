"""The booking service, wired."""

from services.booking.api import internal, router
from services.booking.consumers import consumers
from services.booking.jobs import jobs
from services.booking.models import Base
from services.booking.personal_data import PERSONAL_DATA
from services.booking.settings import Settings
from shared.auth import FetchKeys
from shared.service import Service


def create_service(settings: Settings, *, fetch_keys: FetchKeys | None = None) -> Service:
    return Service(
        "booking",
        settings,
        metadata=Base.metadata,
        router=router,
        internal=internal,
        consumers=consumers,
        schedule=jobs,
        personal_data=PERSONAL_DATA,
        fetch_keys=fetch_keys,
    )
