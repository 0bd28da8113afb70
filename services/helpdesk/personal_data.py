"""Everything that the help desk holds about people is in its tables, and their marks say it all."""

from shared.privacy.hooks import PersonalData

PERSONAL_DATA = PersonalData()
