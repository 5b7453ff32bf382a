"""Running commands as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from pcqaad.cli.main import cli

CLOUDS, POINTS = 6, 256
QUICK = ["--epochs", "2", "--points", str(POINTS), "--patches", "1", "--latent", "2", "--device", "cpu"]
COMMANDS = ["compress", "append", "complete", "decompress", "verify", "distill", "info"]
# Fits as small as these end sooner on one thread.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="pcqaad")


def python(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, env=ENVIRONMENT, check=False)


def refused(*arguments: str | Path) -> str:
    """Return the one line that a command fails with, code 1, having printed no result."""
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.splitlines()
    assert lines[-1].startswith("pcqaad: error: ")
    return lines[-1].removeprefix("pcqaad: error: ")
