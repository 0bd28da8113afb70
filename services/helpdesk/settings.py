"""The help desk's settings (prefix COWORK_HELPDESK_)."""

from pydantic_settings import SettingsConfigDict

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="COWORK_HELPDESK_", extra="ignore", hide_input_in_errors=True)
