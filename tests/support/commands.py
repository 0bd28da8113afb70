"""`cowork …`, run as an operator runs it: its exit code and what it has printed."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from shared.migrate import ROOT
from tests.support.warm import WarmProcess, may_be_warm


def cowork(
    *arguments: str | Path, where: Path = ROOT, seconds: float = 120, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder; nothing is set but `variables` and what finds it. Raises TimeoutExpired."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "300", **variables}
    told = [str(one) for one in arguments]
    if not may_be_warm(environment):
        command = [sys.executable, "-m", "deploy.cli", *told]
        return subprocess.run(
            command, env=environment, stdin=-3, capture_output=True, text=True, timeout=seconds, cwd=where
        )
    with tempfile.TemporaryDirectory(prefix="cowork-command-") as folder:
        said, errors = Path(folder, "stdout"), Path(folder, "stderr")
        process = WarmProcess(told, environment, said, errors=errors, where=where)
        try:
            code = process.wait(seconds)
        finally:
            process.kill()
        return subprocess.CompletedProcess(["cowork", *told], code, said.read_text(), errors.read_text())
