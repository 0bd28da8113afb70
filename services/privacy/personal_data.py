"""What the marks cannot say: the ledger knows erased subjects by keyed hash only."""

from shared.privacy.hooks import PersonalData, Store

PERSONAL_DATA = PersonalData(
    stores=(Store("erasure ledger", "keyed hashes of erased subjects", "holds no account", 65),),
)
