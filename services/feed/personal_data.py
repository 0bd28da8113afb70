"""Everything that the feed holds about people for longer than a second is in its tables, and their marks say it all."""

from shared.people import REMEMBERED_NAMES
from shared.privacy.hooks import PersonalData

PERSONAL_DATA = PersonalData(stores=(REMEMBERED_NAMES,))
