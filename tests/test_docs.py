"""The pages hold: commands parse, names and paths are there, the site asks no other host."""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from importlib import import_module

import pytest
import yaml

import pcqaad
from pcqaad.cli.main import cli
from tests.__main__ import CHECKS
from tests.house import ROOT

PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if not page.is_symlink())]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


def blocks(page, language):
    """Yield the code blocks of a page in one language."""
    for indent, body in re.findall(rf"^( *)```{language}\n(.*?)^\1```$", page.read_text(), re.MULTILINE | re.DOTALL):
        yield re.sub(rf"^{indent}", "", body, flags=re.MULTILINE)


def test_a_bare_machine_runs_two_commands():
    shell = [line for block in blocks(ROOT / "README.md", "sh") for line in block.splitlines()]
    first, second = (line for line in shell if line.startswith("python3 -m venv"))
    assert first.endswith("-e '.[fit,pictures]' && .venv/bin/python examples/quickstart.py")
    assert second.endswith("-e '.[dev]' && .venv/bin/python -m tests")
    assert second in (ROOT / ".ci" / "run").read_text().splitlines()
    assert first in (ROOT / "docs" / "install.md").read_text().splitlines()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_are_understood(page):
    lines = [line for language in ("console", "sh") for block in blocks(page, language) for line in block.splitlines()]
    commands = [line.removeprefix("$ ") for line in lines if re.match(r"(\$ )?pcqaad ", line)]
    for line in commands:
        _, name, *arguments = shlex.split(line, comments=True)
        command = cli.get_command(None, name)
        assert command is not None, line
        # Parses, and raises for an option that is not there; nothing is run.
        command.make_context(name, arguments)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_programs_use_names_that_are_there(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pcqaad":
                assert hasattr(pcqaad, node.attr), node.attr
            if isinstance(node, ast.ImportFrom):
                assert all(hasattr(import_module(node.module), alias.name) for alias in node.names), node.module


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=lambda page: page.name)
def test_paths_and_links_lead_somewhere(page):
    text = page.read_text()
    paths = re.findall(r"`((?:pcqaad|formats|cli|tests|docs|examples|benchmarks)/[\w./]*\w)`", text)
    paths = [path for path in paths if "NAME" not in path]
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [link for link in links if not (page.parent / link).exists()] == []
    modules = re.findall(r"python -m ((?:benchmarks|tests)[\w.]*)", text)
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


def test_every_command_error_and_preset_has_its_place():
    guide, python = ((ROOT / "docs" / name).read_text() for name in ("guide.md", "python.md"))
    assert [name for name in cli.list_commands(None) if f"$ pcqaad {name} " not in guide] == []
    assert [name for name in dir(pcqaad) if name.endswith("Error") and f"`pcqaad.{name}`" not in python] == []
    assert [name for name in pcqaad.PRESETS if name != "auto" and name not in guide] == []


def test_the_site_builds_and_asks_no_other_host(tmp_path):
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        assert re.findall(r"""<(?:link|script|img|iframe)[^>]*(?:https?:)?//[^>]*>""", page.read_text()) == []


def test_the_citation_names_this_version_and_both_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "message", "authors"} <= set(citation)
    assert citation["version"] == pcqaad.__version__
    assert citation["license"] == "Apache-2.0"
    first = [(paper["authors"][0]["family-names"], paper["year"]) for paper in citation["references"]]
    assert first == [("Wagner", 2022), ("Lin", 2024)]
    assert all({"type", "title", "authors", "doi"} <= set(paper) for paper in citation["references"])


def test_hooks_run_the_tools_of_the_tests():
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook for repository in repositories for hook in repository["hooks"]]
    assert {repository["repo"] for repository in repositories} == {"local"}
    run = {hook["entry"].split()[2] for hook in hooks}
    assert run == {check[0] for check in CHECKS} - {"pytest", "mkdocs"}
    assert {hook["language"] for hook in hooks} == {"system"}
