"""Laws of the house: which room may import which, and what must stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(p for room in ("pcqaad", "formats", "cli") for p in (ROOT / room).rglob("*.py"))
# Room -> what it may not import. Arrows go cli -> pcqaad -> formats.
FORBIDDEN = {
    "formats": ("torch", "scipy", "click", "pickle", "pcqaad.cli"),
    "pcqaad": ("click", "pickle", "pcqaad.cli"),
    "cli": ("pickle",),
}
# The only modules that may import torch when imported.
TORCH = {
    *("atlasnet.py", "chamfer.py", "encoder.py"),
    *("batched.py", "batches.py", "bilevel.py", "course.py", "criteria.py", "devices.py", "growth.py", "latents.py"),
    *("loop.py", "nearest.py", "network.py", "rounding.py", "swap_torch.py", "weighting.py"),
    # Of completion.
    *("networks.py", "training.py"),
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.col_offset == 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module, node.col_offset == 0


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    for name, at_top in imports(path):
        first = name.split(".")[0]
        assert first not in ("formats", "cli"), f"import by the installed name, not {name}"
        assert not any(name == bad or name.startswith(bad + ".") for bad in FORBIDDEN[room]), name
        if room == "formats" and first == "pcqaad":
            assert name.startswith("pcqaad.formats"), name
        if first == "torch" and at_top:
            assert path.name in TORCH, f"{path.name} imports torch"


def test_the_second_decoder_knows_the_specification_alone():
    names = {name.split(".")[0] for name, _ in imports(ROOT / "tests" / "reference.py")}
    assert names - set(sys.stdlib_module_names) == {"numpy"}
    assert not names & {"importlib", "runpy", "subprocess", "sys"}


def test_decoding_and_describing_load_no_torch(fitted_file, tmp_path):
    script = f"""
import sys
import pcqaad
assert "numpy" not in sys.modules, "import pcqaad alone must load nothing heavy"
c = pcqaad.open({str(fitted_file)!r})
c.info, c.names, c.latents, c[0], c.check()
from pcqaad.cli.main import main
file, folder = {str(fitted_file)!r}, {str(tmp_path)!r}
for arguments in (["info", file], ["decompress", file, "-o", folder]):
    sys.argv = ["pcqaad", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
heavy = {{"torch", "scipy", "h5py", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
