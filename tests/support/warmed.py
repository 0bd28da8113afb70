"""Imported once by the process that warm ones are forked from (`warm.py`): the command and every service."""

import importlib

import deploy.cli.app
import deploy.cli.bus
import deploy.cli.serve
from shared.events import SERVICES

for service in SERVICES:
    importlib.import_module(f"services.{service}.app")

__all__ = ["deploy"]
