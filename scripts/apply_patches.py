#!/usr/bin/env python3
"""Teach an installed TGI server `--quantize auto-round`, by insertions only.

    python scripts/apply_patches.py apply tgi-3.3.7

Run it with the server's own Python, or name the package's folder with --root. It needs the standard library of Python
3.10 and this folder's patching/, the patch set and docker/versions.json; nothing of the server is imported.

exit codes:
  0  the tree is as asked for: it can be or is patched (check), is patched now (apply), is patched and means it (verify)
  1  refused: another release or server, changed files, a missing anchor, not patched (verify); nothing was written
  2  wrong usage
  3  a file or the package cannot be found, read or written; nothing was changed
"""

import argparse
import difflib
import json
import sys
from pathlib import Path

from patching.errors import Refused, Unusable
from patching.patch_set import read_patch_set
from patching.server_tree import ServerTree, examine, find_package, sha256
from patching.text import split_lines
from patching.writing import write

REPOSITORY = Path(__file__).resolve().parents[1]
VERSIONS = REPOSITORY / "docker/versions.json"


def main() -> int:
    arguments = parse_arguments()
    try:
        patch_set = read_patch_set(patch_folder(arguments.patch_set), arguments.versions)
        root = arguments.root or find_package(patch_set.package)
        tree = examine(root, patch_set, allow_unknown=arguments.allow_unknown)
        COMMANDS[arguments.command](tree)
        if arguments.record:
            record(tree, arguments.record)
    except Refused as refusal:
        print(f"Refused: {refusal}", file=sys.stderr)
        return 1
    except Unusable as problem:
        print(f"Failed: {problem}", file=sys.stderr)
        return 3
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("patch_set", help="a folder, or the name of one in patches/")
    parser.add_argument("--root", type=Path, help="the server package's folder; default: the one this Python imports")
    parser.add_argument("--versions", type=Path, default=VERSIONS, help="table of the files that sets were verified on")
    parser.add_argument("--allow-unknown", action="store_true", help="take files that no verified release has")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write what was found and done, as JSON")
    return parser.parse_args()


def patch_folder(name: str) -> Path:
    return Path(name) if "/" in name else REPOSITORY / "patches" / name


def check(tree: ServerTree) -> None:
    for file in tree.files:
        count = len(tree.patch_set.insertions_into(file.name))
        state = "takes" if file in tree.unpatched else "has"
        unknown = "" if file.releases else f"; of no verified release, sha256 {file.sha256}"
        print(f"{file.name} {state} {count} insertions{unknown}")
    print(f"releases with these files: {', '.join(tree.releases) or 'none that was verified'}")


def apply(tree: ServerTree) -> None:
    if not tree.unpatched:
        print(f"{tree.patch_set.name}: already applied to {tree.root}")
        return
    write(tree)
    print(f"{tree.patch_set.name}: applied to {len(tree.unpatched)} files in {tree.root}")


def verify(tree: ServerTree) -> None:
    bare = [file.name for file in tree.unpatched]
    if bare:
        raise Refused(f"{tree.patch_set.name} is not applied to {', '.join(bare)} in {tree.root}.")
    print(
        f"{tree.patch_set.name}: all {len(tree.patch_set.insertions)} insertions in {tree.root} mean what they should"
    )


def diff(tree: ServerTree) -> None:
    for file in tree.files:
        before, after = split_lines(file.original), split_lines(tree.patched[file.name])
        lines = difflib.unified_diff(before, after, f"a/{file.name}", f"b/{file.name}")
        # Bytes, because a text stream would translate the files' line ends.
        sys.stdout.buffer.write("".join(lines).encode())


def record(tree: ServerTree, target: Path) -> None:
    result = {
        "patch_set": tree.patch_set.name,
        "root": str(tree.root),
        "releases": tree.releases,
        "sha256": {file.name: {"before": file.sha256, "after": sha256(tree.patched[file.name])} for file in tree.files},
    }
    try:
        target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise Unusable(f"{target} cannot be written: {error}") from error


COMMANDS = {"check": check, "apply": apply, "verify": verify, "diff": diff}

if __name__ == "__main__":
    sys.exit(main())
