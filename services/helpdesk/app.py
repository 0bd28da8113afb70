"""The help desk service, wired."""

from services.helpdesk.api import router
from services.helpdesk.consumers import consumers
from services.helpdesk.jobs import jobs
from services.helpdesk.models import Base
from services.helpdesk.personal_data import PERSONAL_DATA
from services.helpdesk.settings import Settings
from shared.auth import FetchKeys
from shared.service import Service


def create_service(settings: Settings, *, fetch_keys: FetchKeys | None = None) -> Service:
    return Service(
        "helpdesk",
        settings,
        metadata=Base.metadata,
        router=router,
        consumers=consumers,
        schedule=jobs,
        personal_data=PERSONAL_DATA,
        fetch_keys=fetch_keys,
    )
