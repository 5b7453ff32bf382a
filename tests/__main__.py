"""All checks of the project in one command: `python -m tests`. Stops at the first that fails."""

import subprocess
import sys
import tempfile
from pathlib import Path

# A file's tests stay together: they share what was fitted for them.
PYTEST = ["pytest", "-n", "auto", "--maxprocesses", "4", "--dist", "loadfile"]
SITE = ["mkdocs", "build", "--strict", "--quiet", "--site-dir"]
CHECKS = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["codespell_lib"], SITE, PYTEST)


def main() -> None:
    """Run linting, formatting, type checking, spelling, the pages and the tests; more arguments go to pytest."""
    for check in CHECKS:
        with tempfile.TemporaryDirectory() as folder:
            more = {id(PYTEST): sys.argv[1:], id(SITE): [folder]}.get(id(check), [])
            command = [sys.executable, "-m", *check, *more]
            print("$ python -m", *command[2:], flush=True)
            done = subprocess.run(command, cwd=Path(__file__).resolve().parent.parent, check=False)
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
