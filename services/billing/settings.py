"""Billing's settings (prefix COWORK_BILLING_)."""

from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="COWORK_BILLING_", extra="ignore", hide_input_in_errors=True)
