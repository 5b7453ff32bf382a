"""Laws of the house: which room may import which, no circles, closures that read in order, and what must stay light."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import tomllib

from tests.house import BEGIN, END, ROOMS, ROOT, TORCH, table

MODULES = {
    path.relative_to(ROOT).as_posix(): path
    for top in ("formats", "pcqaad", "cli")
    for path in (ROOT / top).rglob("*.py")
}
NAMES = {
    ("" if path.startswith("pcqaad/") else "pcqaad/") + path.removesuffix(".py").removesuffix("/__init__"): path
    for path in MODULES
}


def room_of(path):
    """Return the index of the room of a file: of several that hold it, the innermost."""
    inside = [i for i, room in enumerate(ROOMS) if path == room.path or path.startswith(room.path + "/")]
    assert inside, f"{path} stands in no room of tests/house.py"
    return max(inside, key=lambda i: len(ROOMS[i].path))


def imports(path):
    """Yield the modules that a file imports, and whether it does so when it is imported itself."""
    tree = ast.parse(Path(path).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.col_offset == 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole.replace(".", "/") in NAMES else node.module), node.col_offset == 0


def ours(path):
    """Yield the files of the project that a file imports."""
    for name, _ in imports(MODULES[path]):
        if name.split(".")[0] == "pcqaad" and name != "pcqaad":
            yield NAMES[name.replace(".", "/")]


@pytest.mark.parametrize("path", sorted(MODULES))
def test_a_room_imports_what_stands_below_it_and_its_own_libraries(path):
    here = room_of(path)
    for other in ours(path):
        assert room_of(other) <= here, f"{path} imports {other}, which stands above it"
    for name, at_top in imports(MODULES[path]):
        package = name.split(".")[0]
        assert package not in ("formats", "cli"), f"import by the installed name, not {name}"
        if package == "torch":
            allowed = any(path == where or path.startswith(where + "/") for where in TORCH)
            assert allowed or not at_top, f"{path} imports torch"
        elif package not in sys.stdlib_module_names and package not in ("pcqaad", "_typeshed"):
            assert package in ROOMS[here].packages, f"{path} imports {package}"
        assert package != "pickle"


def test_no_file_depends_on_itself():
    try:
        TopologicalSorter({path: set(ours(path)) - {path} for path in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")


SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def bindings(node):
    """Yield the names that a function binds, and from which place of the text on they stand: (name, (line, column))."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            # What is assigned stands behind the whole statement.
            for name, _ in bindings(child):
                yield name, (child.end_lineno, child.end_col_offset)
        elif isinstance(child, SCOPES):
            if not isinstance(child, ast.Lambda):
                yield child.name, (child.lineno, child.col_offset)
        elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            yield child.id, (child.lineno, child.col_offset)
        elif isinstance(child, ast.arg):
            yield child.arg, (child.lineno, child.col_offset)
        elif not isinstance(child, COMPREHENSIONS):
            yield from bindings(child)


def closed_over_early(tree):
    """Yield the lines of nested functions that use a name which their enclosing function binds only after them."""
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for outer in functions:
        first = {}
        for name, place in bindings(outer):
            first[name] = min(place, first.get(name, place))
        for inner in ast.walk(outer):
            if inner is outer or not isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                continue
            names = [node for node in ast.walk(inner) if isinstance(node, ast.Name)]
            own = {arg.arg for arg in ast.walk(inner) if isinstance(arg, ast.arg)}
            own |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
            for name in {node.id for node in names} - own:
                if first.get(name, (0, 0)) > (inner.lineno, inner.col_offset):
                    yield inner.lineno, name


@pytest.mark.parametrize("path", sorted(MODULES))
def test_no_function_closes_over_a_name_bound_after_it(path):
    assert list(closed_over_early(ast.parse(MODULES[path].read_text()))) == []


def test_a_name_bound_after_a_closure_is_noticed():
    text = """
def late(values):
    def add(x):
        return x + offset
    offset = 1
    found = list(map(lambda x: found[x], values))
    return [add(x) for x in values], [x for x in values], (lambda: values), (lambda x: add(x))
"""
    assert list(closed_over_early(ast.parse(text))) == [(3, "offset"), (6, "found")]


def test_every_room_is_there_and_named_once():
    paths = [room.path for room in ROOMS]
    assert len(set(paths)) == len(paths)
    assert [path for path in (*paths, *TORCH) if not (ROOT / path).exists()] == []


def test_the_table_for_contributors_is_this_list():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert text.split(BEGIN)[1].split(END)[0] == table(), "run python -m tests.house"


def test_every_folder_is_packaged():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {Path(path).parent.as_posix() for path in MODULES}
    assert sorted(listed) == sorted(
        ("" if folder.startswith("pcqaad") else "pcqaad.") + folder.replace("/", ".") for folder in folders
    )


def test_the_second_decoder_knows_the_specification_alone():
    files = sorted((ROOT / "tests").glob("reference*.py"))
    whole = {name for file in files for name, _ in imports(file)}
    own = {f"tests.{file.stem}" for file in files} - {"tests.reference"}
    assert {name for name in whole if name.startswith("tests")} == own
    names = {name.split(".")[0] for name in whole}
    assert names - set(sys.stdlib_module_names) == {"numpy", "tests"}
    assert not names & {"importlib", "runpy", "subprocess", "sys"}


def loaded(script):
    """Return which heavy packages a script has loaded."""
    heavy = {"torch", "scipy", "numba", "llvmlite", "h5py", "plyfile", "click", "matplotlib", "zstandard"}
    script += f"\nimport sys\nprint(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout.splitlines()[-1])


def test_decoding_loads_numpy_alone(fitted_file):
    script = f"import pcqaad\nc = pcqaad.open({str(fitted_file)!r})\nc.info, c.names, c.latents, c[0], c.check()"
    assert loaded(script) == []
    assert loaded("import sys, pcqaad\nassert 'numpy' not in sys.modules") == []


@pytest.mark.parametrize("arguments", [["--help"], ["info"], ["decompress", "-o", "{}"]])
def test_light_commands_load_no_heavy_library(fitted_file, tmp_path, arguments):
    call = [arguments[0], *([str(fitted_file)] if arguments[0] != "--help" else []), *arguments[1:]]
    call = [word.replace("{}", str(tmp_path)) for word in call]
    script = (
        f"import sys\nsys.argv = ['pcqaad', *{call!r}]\nfrom pcqaad.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
    assert loaded(script) in (["click"], ["click", "plyfile"])


def test_there_is_one_package():
    with pytest.raises(ModuleNotFoundError):
        __import__("pcqaad.pcqaad")
