"""Where an insertion belongs in a parsed file."""

import ast
from dataclasses import dataclass

from patching.errors import Refused
from patching.patch_set import LAST_MEMBER, Insertion

Scope = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Place:
    """Lines go in front of line `line`, counted from 0. In a patched file their statements are `inserted`, and what
    they were put before is `following`."""

    scope: Scope
    line: int
    inserted: list[ast.stmt]
    following: list[ast.stmt]

    @property
    def column(self) -> int:
        return self.scope.body[0].col_offset


def find_place(module: ast.Module, insertion: Insertion) -> Place:
    """Raises Refused when the scope or the anchor in it is missing or not unique."""
    scope = _find_scope(module, insertion)
    body, count = scope.body, len(ast.parse("\n".join(insertion.lines)).body)
    if body[0].lineno == scope.lineno:
        raise Refused(f"{insertion.file}: `{insertion.scope}` has its body on its first line: no room for lines.")
    if insertion.at == LAST_MEMBER:
        after = _after_last_member(scope, insertion)
        return Place(scope, _end(body[after - 1]), body[max(after - count, 0) : after], body[after:])
    first = 1 if _is_docstring(body[0]) else 0
    line = _end(body[0]) if first else body[0].lineno - 1
    return Place(scope, line, body[first : first + count], body[first + count :])


def _end(statement: ast.stmt) -> int:
    return statement.end_lineno or statement.lineno


def _find_scope(module: ast.Module, insertion: Insertion) -> Scope:
    kind, path = insertion.scope.split(" ")
    *classes, name = path.split(".")
    body = module.body
    for class_name in classes:
        body = _only(body, ast.ClassDef, class_name, insertion).body
    return _only(body, ast.ClassDef if kind == "class" else ast.FunctionDef, name, insertion)


def _only(body: list[ast.stmt], kind: type, name: str, insertion: Insertion) -> Scope:
    found = [node for node in body if isinstance(node, kind) and isinstance(node, Scope) and node.name == name]
    if len(found) != 1:
        raise Refused(
            f"{insertion.file}: `{insertion.scope}` should be there once, and {name} is there {len(found)} times."
        )
    return found[0]


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _after_last_member(scope: Scope, insertion: Insertion) -> int:
    members = [index for index, statement in enumerate(scope.body) if isinstance(statement, ast.Assign)]
    if not members:
        raise Refused(f"{insertion.file}: `{insertion.scope}` has no members to follow.")
    return members[-1] + 1
