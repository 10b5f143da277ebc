"""The words that a reader follows: links, paths, the list of what is public, and examples."""

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import femto
from femto.commands import main
from femto.dummy_data import addition_dummy
from femto.experiments import reading

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
# In backticks: a path from the root of the source, perhaps with arguments after it. `…` and `*` stand for something else.
PATH = re.compile(r"`(?:\.venv/bin/)?(?:python3? )?((?:femto|tests|benches|docs|dummy_data|\.ci)/[\w./-]*)(?: [^`]*)?`")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(prose(page)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(there), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_path_of_the_source_exists(page):
    missing = [path for path in PATH.findall(prose(page)) if not (ROOT / path).exists()]
    assert not missing


def test_the_index_names_every_page():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert {page.name for page in PAGES if page.parent == ROOT / "docs"} <= {"README.md", *re.findall(r"\((\w[\w-]*\.md)", index)}


def test_the_library_page_lists_exactly_what_is_public():
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    section = page.split("<!-- names: femto -->")[1].split("<!-- end -->")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", section, re.M)
    listed = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(listed) == sorted(femto.__all__)
    for section in re.split(r"^## ", page, flags=re.M):
        if module := re.match(r"`(femto[.\w]*)`\n", section):
            public = getattr(importlib.import_module(module[1]), "__all__", [])
            assert set(public) <= set(re.findall(r"`(\w+)`", section)), module[1]


def test_the_library_page_says_what_each_command_calls():
    page = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    table = page.split("<!-- names: commands -->")[1].split("<!-- end -->")[0]
    rows = dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", table, re.M))
    assert rows.keys() == main.commands.keys()
    for name in re.findall(r"`(femto\.[\w.]+)`", table):
        pkgutil.resolve_name(name)


PUBLIC = ("femto", "femto.kernels", "femto.tokenizers", "femto.model", "femto.checkpoint", "femto.training", "femto.optimizers")


@pytest.mark.parametrize("module", [*PUBLIC, "femto.errors", "femto.growth", "femto.experiments", "femto.analysis.diagnosis"])
def test_whatever_is_public_has_a_docstring(module):
    there = importlib.import_module(module)
    assert there.__doc__
    without = []
    own = [name for name, thing in vars(there).items() if name[0] != "_" and getattr(thing, "__module__", "") == module]
    for name in getattr(there, "__all__", own):
        thing = getattr(there, name)
        if not inspect.isclass(thing) and not inspect.isfunction(thing):
            continue
        if not thing.__doc__ or thing.__doc__.startswith(f"{name}("):  # the one that a dataclass makes
            without.append(name)
        for inner, member in vars(thing).items() if inspect.isclass(thing) else ():
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(function) and not inner.startswith("_") and not function.__doc__:
                without.append(f"{name}.{inner}")
    assert not without


def test_the_example_of_a_recipe_is_one(tmp_path):
    blocks = dict(FENCED.findall((ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")))
    path = tmp_path / "mine.toml"
    path.write_text(blocks["toml"], encoding="utf-8")
    assert len(reading.load(str(path)).plan("modern").checks) == 2


def python_blocks(page: Path) -> list[str]:
    return [body for language, body in FENCED.findall(page.read_text(encoding="utf-8")) if language == "python"]


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=named)
def test_examples_in_python_run(page, tmp_path, monkeypatch):
    """One after another, in a folder with a text, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    Path("dataset.txt").write_text(addition_dummy.generate(lines=2000), encoding="utf-8")
    names: dict[str, object] = {}
    for body in python_blocks(page):
        exec(compile(body, named(page), "exec"), names)


def modules_with_examples() -> list[str]:
    found = [femto.__name__]
    for module in pkgutil.walk_packages(femto.__path__, "femto."):
        spec = importlib.util.find_spec(module.name)
        if spec and spec.origin and spec.origin.endswith(".py") and ">>> " in Path(spec.origin).read_text(encoding="utf-8"):
            found.append(module.name)
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_hold(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed
