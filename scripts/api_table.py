#!/usr/bin/env python3
"""Writes the tables of docs/api.md: the fields of docs/api-fields.yaml with their tests, and the options of `serve`.

With --check nothing is written, and the exit code says whether the page is up to date.
tests/server/test_openapi.py compares the fields with the schemas of the running server.
"""

import ast
import dataclasses
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tgi_autoround.server.settings import OWN_VARIABLES_PREFIX, ServeConfig, flag

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/api.md"
FIELDS = ROOT / "docs/api-fields.yaml"
TESTS = ROOT / "tests/server"
GENERATED = re.compile(r"(<!-- scripts/api_table.py makes (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
FIELDS_HEADER = "| schema, routes | field | TGI 3.3.7 | here | test |\n|---|---|---|---|---|\n"


@dataclass(frozen=True)
class Row:
    """One field of a schema, as the page tells it."""

    schema: str
    routes: tuple[str, ...]
    field: str
    tgi: str
    here: str
    test: str

    def text(self, *, first: bool) -> str:
        """Return the table's row; the first of a schema names it."""
        schema = f"`{self.schema}`: {', '.join(self.routes)}" if first else ""
        file, name = self.test.split("::")
        test = f"[{name.replace('_', ' ')}](../tests/server/test_{file}.py)"
        return f"| {schema} | `{self.field}` | {self.tgi} | {self.here} | {test} |\n"


def described() -> dict[str, dict[str, Any]]:
    """Return the description of TGI's schemas, by their names."""
    schemas: dict[str, dict[str, Any]] = yaml.safe_load(FIELDS.read_text(encoding="utf-8"))
    return schemas


def rows(schema: str, about: dict[str, Any]) -> Iterator[Row]:
    """Yield the fields of one schema; what has no note of a difference works as in TGI."""
    for field, note in about["fields"].items():
        told = note if isinstance(note, dict) else {"tgi": note}
        test = told.get("test") or about["test"]
        yield Row(schema, tuple(about["routes"]), field, told["tgi"], told.get("here", "the same"), test)


def known_tests() -> set[str]:
    """Return every test of the server as `file::name`, without the words that all have in common."""
    return {
        f"{file.stem.removeprefix('test_')}::{node.name.removeprefix('test_')}"
        for file in TESTS.glob("test_*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def problems(schemas: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield what the description says wrongly of the server's tests."""
    known = known_tests()
    for schema, about in schemas.items():
        tests = {row.test for row in rows(schema, about)}
        yield from (f"{schema}: there is no test {test} in tests/server" for test in sorted(tests - known))


def fields(schemas: dict[str, dict[str, Any]]) -> str:
    """Return the page's two tables: what is asked, and what is answered."""
    asked, answered = "", ""
    for schema, about in schemas.items():
        texts = [row.text(first=number == 0) for number, row in enumerate(rows(schema, about))]
        if about.get("answers"):
            answered += "".join(texts)
        else:
            asked += "".join(texts)
    return f"\n### Requests\n\n{FIELDS_HEADER}{asked}\n### Answers\n\n{FIELDS_HEADER}{answered}\n"


def options() -> str:
    """Return the page's table of options: TGI's, then this project's."""
    by_owner: dict[bool, list[str]] = {False: [], True: []}
    for field in dataclasses.fields(ServeConfig):
        own = bool(field.metadata.get("own"))
        variable = (OWN_VARIABLES_PREFIX if own else "") + field.name.upper()
        named = f"`{flag(field.name)}`" if field.name == "env" else f"`{flag(field.name)}`, `{variable}`"
        default = "" if field.default in (None, ()) else f"`{field.default}`"
        by_owner[own].append(f"| {named} | {default} | {field.metadata['help']} |\n")
    head = "| option, variable | default | |\n|---|---|---|\n"
    return f"\n{head}{''.join(by_owner[False])}\nBeyond TGI's:\n\n{head}{''.join(by_owner[True])}\n"


def page(text: str, schemas: dict[str, dict[str, Any]]) -> str:
    """Return the page `text` with its tables made anew."""
    made = {"fields": fields(schemas), "options": options()}
    return GENERATED.sub(lambda part: part[1] + made[part[2]] + part[3], text)


def main() -> int:
    schemas = described()
    wrong = list(problems(schemas))
    text = PAGE.read_text(encoding="utf-8")
    made = page(text, schemas)
    if "--check" not in sys.argv and not wrong:
        PAGE.write_text(made, encoding="utf-8")
    elif made != text:
        wrong.append("docs/api.md is out of date: run scripts/api_table.py")
    print("\n".join(wrong), file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
