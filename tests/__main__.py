"""All checks of the project in one command: `python -m tests`. Stops at the first that fails."""

import subprocess
import sys
from pathlib import Path

# A file's tests stay together: they share what was fitted for them.
PYTEST = ["pytest", "-n", "auto", "--maxprocesses", "4", "--dist", "loadfile"]
CHECKS = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], PYTEST)


def main() -> None:
    """Run linting, formatting, type checking and the tests; more arguments go to pytest."""
    for check in CHECKS:
        command = [sys.executable, "-m", *check, *(sys.argv[1:] if check is PYTEST else [])]
        print("$ python -m", *command[2:], flush=True)
        done = subprocess.run(command, cwd=Path(__file__).resolve().parent.parent, check=False)
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
