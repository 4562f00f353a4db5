"""Does a patched file mean what the patch set promises? Judged from its syntax tree, not from the inserted lines."""

import ast
import builtins
import symtable
from collections.abc import Iterable

from patching.anchors import Place, find_place
from patching.errors import Refused
from patching.patch_set import Insertion
from patching.text import parse

HOOKS_MODULES = ("tgi_autoround.tgi", "tgi_autoround.tgi.legacy")


def check_meaning(text: str, insertion: Insertion) -> None:
    """Raises Refused with what is not as it should be."""
    module = parse(text, insertion.file)
    place = find_place(module, insertion)
    if insertion.meaning.member:
        problem = _member_problem(place, insertion.meaning.member)
    else:
        problem = _call_problem(place, insertion) or _name_problem(text, place.inserted, insertion)
    if problem:
        raise Refused(f"{insertion.file}, `{insertion.scope}`: {problem}")


def _member_problem(place: Place, member: tuple[str, str]) -> str | None:
    name, value = member
    values = [
        ast.literal_eval(statement.value)
        for statement in place.scope.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.value, ast.Constant)
        and _assigned_names(statement) == [name]
    ]
    return None if values == [value] else f"the member {name} should have the value {value!r} once, and has {values}."


def _call_problem(place: Place, insertion: Insertion) -> str | None:
    meaning, call = insertion.meaning, f"hooks.{insertion.meaning.calls}"
    nodes = [node for statement in place.inserted for node in ast.walk(statement)]
    if not any(_imports_hooks(node) for node in nodes):
        return f"the statements at the place of the insertion do not import the hooks of {' or '.join(HOOKS_MODULES)}."
    if not any(_calls(node, call) for node in nodes):
        return f"the statements at the place of the insertion do not call {call}."
    if meaning.returns and not any(isinstance(node, ast.Return) and _calls(node.value, call) for node in nodes):
        return f"what {call} gives is not returned."
    if meaning.assigns:
        last = place.inserted[-1]
        if not (isinstance(last, ast.Assign) and _calls(last.value, call)):
            return f"what {call} gives is not assigned."
        if _assigned_names(last) != list(meaning.assigns):
            return f"{call} sets {_assigned_names(last)} and not {list(meaning.assigns)}."
    unused = set(meaning.assigns) - _read_names(place.following)
    return f"nothing behind the insertion uses {sorted(unused)}." if unused else None


def _name_problem(text: str, block: list[ast.stmt], insertion: Insertion) -> str | None:
    """A name that the insertion reads must exist in the function or the module; else it fails when it is reached."""
    module = symtable.symtable(text, insertion.file, "exec")
    scope = module
    for name in insertion.scope.split(" ")[1].split("."):
        scope = next(child for child in scope.get_children() if child.get_name() == name)
    missing = []
    for name in sorted(_read_names(block)):
        symbol = scope.lookup(name)
        if not symbol.is_local() and not _defined_globally(module, name):
            missing.append(name)
    return f"{missing} should be defined there and is not." if missing else None


def _defined_globally(module: symtable.SymbolTable, name: str) -> bool:
    if hasattr(builtins, name):
        return True
    try:
        symbol = module.lookup(name)
    except KeyError:
        return False
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


def _imports_hooks(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module in HOOKS_MODULES and node.names[0].name == "hooks"


def _calls(node: ast.AST | None, call: str) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == call


def _assigned_names(assignment: ast.Assign) -> list[str]:
    return [node.id for node in ast.walk(assignment.targets[0]) if isinstance(node, ast.Name)]


def _read_names(statements: Iterable[ast.stmt]) -> set[str]:
    return {
        node.id
        for statement in statements
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
