"""What the marks cannot say: nothing. Documents are retained by their marks, the map to the account goes by its own."""

from shared.privacy.hooks import PersonalData

PERSONAL_DATA = PersonalData()
