"""`cowork …`, run as an operator runs it: its exit code and what it has printed."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from shared.migrate import ROOT
from tests.support.warm import WarmProcess


def cowork(
    *arguments: str | Path, where: Path = ROOT, seconds: float = 120, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, with `variables` as its whole environment. Raises TimeoutExpired."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "300", **variables}
    told = [str(one) for one in arguments]
    # Another clock is another library under the interpreter: only a new one loads it.
    if "LD_PRELOAD" in environment:
        command = [sys.executable, "-m", "deploy.cli", *told]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, cwd=where)
    with tempfile.TemporaryDirectory(prefix="cowork-command-") as folder:
        said, errors = Path(folder, "stdout"), Path(folder, "stderr")
        process = WarmProcess(told, environment, said, errors=errors, where=where)
        try:
            code = process.wait(seconds)
        finally:
            process.kill()
        return subprocess.CompletedProcess(["cowork", *told], code, said.read_text(), errors.read_text())
