"""Prose that every machine with Python and Debian's base files already has."""

import ast
import importlib
import inspect
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

LICENCES = Path("/usr/share/common-licenses")
SKIPPED_FOLDERS = {
    "test",
    "tests",
    "site-packages",
    "dist-packages",
    "idlelib",
    "lib2to3",
    "turtledemo",
    "encodings",
    "pydoc_data",
    "__pycache__",
}
CPYTHON_TEST_EXTENSIONS = re.compile(r"_?(test|xx|ctypes_test)")
# Their functions live elsewhere; users know them by these modules' names.
EXPORTING_MODULES = {"asyncio", "collections", "concurrent.futures", "json", "logging", "os.path", "random", "unittest"}
SHORTEST_TEXT = 20
COMMENT_BLOCK = re.compile(r"(?:^[ \t]*#(?:[ \t].*)?\n){2,}", re.MULTILINE)


@dataclass(frozen=True)
class Document:
    """One text; `name` is the dotted name that users would ask about, "" when there is none."""

    kind: str
    name: str
    text: str


def all_documents() -> list[Document]:
    """Every document once, in an order that depends on nothing but the text itself."""
    found: dict[str, Document] = {}
    for source in (_introspected_docstrings, _module_texts, _pydoc_topics, _licences):
        for document in source():
            text = _tidy(document.text)
            if len(text) >= SHORTEST_TEXT and text not in found:
                found[text] = Document(document.kind, document.name, text)
    return sorted(found.values(), key=lambda document: (document.kind, document.name, document.text))


def _module_texts() -> Iterator[Document]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if SKIPPED_FOLDERS.isdisjoint(relative.parts):
            module = ".".join(part for part in relative.with_suffix("").parts if part != "__init__")
            source = path.read_text("utf-8", errors="replace")
            yield from _docstrings(ast.parse(source), module)
            yield from _comments(source)


def _docstrings(node: ast.AST, name: str) -> Iterator[Document]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)
        if text:
            yield Document("docstring", name, text)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings(child, f"{name}.{child.name}")


def _comments(source: str) -> Iterator[Document]:
    for block in COMMENT_BLOCK.findall(source):
        text = "\n".join(re.sub(r"^[ \t]*# ?", "", line) for line in block.splitlines())
        letters = sum(character.isalpha() or character == " " for character in text)
        if letters > 0.8 * len(text):
            yield Document("comment", "", text)


def _introspected_docstrings() -> Iterator[Document]:
    """What the source files don't show: modules written in C, and the public names of what is re-exported."""
    for module_name in sorted(_extension_modules() | EXPORTING_MODULES):
        module = _module(module_name)
        if module is None:
            continue
        public_module = {"posix": "os", "builtins": ""}.get(module_name, module_name.lstrip("_"))
        yield from _object_docs(public_module, module)
        for name, value in sorted(vars(module).items()):
            if _belongs(name, value, module):
                yield from _object_docs(f"{public_module}.{name}".lstrip("."), value)
                if inspect.isclass(value):
                    for member_name, member in sorted(vars(value).items()):
                        yield from _object_docs(f"{public_module}.{name}.{member_name}".lstrip("."), member)


def _module(name: str) -> ModuleType | None:
    """The module, deprecated or not; None where this Python was built without what it needs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


def _belongs(name: str, value: object, module: ModuleType) -> bool:
    owner = getattr(value, "__module__", None) or module.__name__
    return name in getattr(module, "__all__", ()) or _package(owner) == _package(module.__name__)


def _package(module_name: str) -> str:
    return module_name.lstrip("_").split(".")[0]


def _object_docs(name: str, value: object) -> Iterator[Document]:
    if inspect.ismodule(value) or inspect.isclass(value) or inspect.isroutine(value):
        text = getattr(value, "__doc__", None)
        if isinstance(text, str):
            yield Document("docstring", name, inspect.cleandoc(text))


def _extension_modules() -> set[str]:
    folder = sysconfig.get_config_var("DESTSHARED")
    shared = {path.name.split(".")[0] for path in Path(folder).glob("*.so")} if folder else set()
    return {name for name in shared | set(sys.builtin_module_names) if not CPYTHON_TEST_EXTENSIONS.match(name)}


def _pydoc_topics() -> Iterator[Document]:
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    for name, text in topics.items():
        for section in re.split(r"\n(?=[^\n]+\n[*=]{4,}\n)", text):
            yield Document("topic", name, section)


def _licences() -> Iterator[Document]:
    for path in sorted(LICENCES.glob("*")):
        if not path.is_symlink():
            yield Document("licence", path.name, path.read_text("utf-8", errors="replace"))


def _tidy(text: str) -> str:
    text = text.expandtabs(4).replace("\r", "")
    text = re.sub(r"([^\w\s])\1{4,}", r"\1\1\1\1", text)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    text = re.sub(r" {12,}", " " * 12, text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
