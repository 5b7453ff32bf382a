"""All checks of the project in one command: `python -m tests`. Stops at the first that fails."""

import subprocess
import sys
from pathlib import Path

CHECKS = (["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["pytest"])


def main() -> None:
    """Run linting, formatting, type checking and the tests; more arguments go to pytest."""
    for check in CHECKS:
        command = [sys.executable, "-m", *check, *(sys.argv[1:] if check == ["pytest"] else [])]
        print("$ python -m", *command[2:], flush=True)
        done = subprocess.run(command, cwd=Path(__file__).resolve().parent.parent, check=False)
        if done.returncode:
            sys.exit(done.returncode)


if __name__ == "__main__":
    main()
