"""What the marks cannot say about identity's personal data."""

from shared.privacy.hooks import PersonalData, Store

personal_data = PersonalData(
    stores=(
        Store("profile pictures", "one picture per profile, without metadata", "file deleted after the erasure", 1),
        Store("attempt counters", "keyed digests of addresses", "expire by themselves", 30),
    )
)
