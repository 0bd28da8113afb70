"""Imported once by the process that warm ones are forked from (`warm.py`): what the commands need, and every service.

Not the commands themselves: their consoles measure the terminal when they are imported.
"""

import importlib

import deploy.backup.drill
import deploy.cli.app
import deploy.doctor.examination
import deploy.suite
import deploy.topology
from shared.events import SERVICES

for service in SERVICES:
    importlib.import_module(f"services.{service}.app")

__all__ = ["deploy"]
