"""The main job on the example skulls: make 48 of them, compress, decompress, verify, and look.

    python examples/quickstart.py [--out FOLDER] [--minutes T]

Every step is a command that you could type yourself. It is printed before it runs.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run(*command: str) -> None:
    """Print a command as you would type it, and run it with this Python."""
    print(f"\n$ {shlex.join(command)}", flush=True)
    # As a module: this works too where the environment is not activated.
    module = ["-m", "pcqaad"] if command[0] == "pcqaad" else []
    done = subprocess.run([sys.executable, *module, *command[1:]], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    """Run the whole example."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="out", help="folder for everything made [out]")
    parser.add_argument("--minutes", default="1", help="time for matching and training [1]")
    a = parser.parse_args()
    out, began = Path(a.out), time.monotonic()
    skulls, file, decoded = str(out / "skulls"), str(out / "skulls.qaad"), str(out / "decoded")

    run("python", str(HERE / "skulls.py"), "--count", "48", "--points", "8192", skulls)
    run("pcqaad", "compress", skulls, "-o", file, "--minutes", a.minutes, "--unit", "mm", "--overwrite")
    run("pcqaad", "decompress", file, "-o", decoded, "--overwrite")
    run("pcqaad", "verify", file, skulls, "--metric", "emkd")
    run("python", str(HERE / "picture.py"), file, skulls, "-o", str(out / "skulls.png"), "--rows", "2")
    print(f"\nLook at {out / 'skulls.png'}. All of it took {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main()
