"""Where an insertion belongs in a parsed file."""

import ast
from dataclasses import dataclass

from patching.errors import Refused
from patching.patch_set import Insertion

Scope = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Place:
    """Lines go in front of line `line`, counted from 0, which is in front of `scope.body[index]`.

    In a patched file the inserted statements are in front of `index` where they are anchored at what follows them
    (`anchor_follows`), and from `index` on otherwise.
    """

    scope: Scope
    index: int
    line: int
    anchor_follows: bool

    @property
    def column(self) -> int:
        return self.scope.body[0].col_offset

    def inserted(self, count: int) -> list[ast.stmt]:
        end = self.index if self.anchor_follows else self.index + count
        return self.scope.body[max(end - count, 0) : end]

    def following(self, count: int) -> list[ast.stmt]:
        return self.scope.body[self.index if self.anchor_follows else self.index + count :]


def find_place(module: ast.Module, insertion: Insertion) -> Place:
    """Raises Refused when the scope or the anchor in it is missing or not unique."""
    scope = _find_scope(module, insertion)
    body = scope.body
    if body[0].lineno == scope.lineno:
        raise Refused(f"{insertion.file}: `{insertion.scope}` has its body on its first line: no room for lines.")
    if insertion.at == "last member":
        index = _after_last_member(scope, insertion)
        return Place(scope, index, _end(body[index - 1]), anchor_follows=True)
    if insertion.at == "before if":
        index = _before_if(scope, insertion)
        return Place(scope, index, body[index].lineno - 1, anchor_follows=True)
    if _is_docstring(body[0]):
        return Place(scope, 1, _end(body[0]), anchor_follows=False)
    return Place(scope, 0, body[0].lineno - 1, anchor_follows=False)


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


def _before_if(scope: Scope, insertion: Insertion) -> int:
    matching = [index for index, statement in enumerate(scope.body) if _compared(statement) == insertion.before_if]
    if len(matching) != 1:
        name, value = insertion.before_if or ("", "")
        raise Refused(
            f"{insertion.file}: `{insertion.scope}` should have one statement that tests {name} for {value!r}"
            f" and nothing else, and has {len(matching)}."
        )
    return matching[0]


def _compared(statement: ast.stmt) -> tuple[str, str] | None:
    """(NAME, VALUE) of a statement `if NAME == VALUE`."""
    match statement:
        case ast.If(
            test=ast.Compare(left=ast.Name(id=name), ops=[ast.Eq()], comparators=[ast.Constant(value=str(value))])
        ):
            return name, value
    return None
