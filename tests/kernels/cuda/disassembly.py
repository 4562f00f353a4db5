"""What NVIDIA's disassembler, which comes with triton, says of machine code."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import triton

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]{4,5})\*/\s+(?:@!?U?P\w+ )?([A-Z0-9_.]+)([^;]*);", re.MULTILINE)


def local_memory_bytes(file: Path) -> int:
    """What a thread spills."""
    usage = subprocess.run([CUOBJDUMP, "-res-usage", file], capture_output=True, text=True, check=True)
    report = usage.stdout + usage.stderr
    return sum(int(report.split(f"{kind}:")[1].split()[0]) for kind in ("STACK", "LOCAL"))


class Disassembly:
    def __init__(self, file: Path) -> None:
        listing = subprocess.run([CUOBJDUMP, "-sass", file], capture_output=True, text=True, check=True).stdout
        self._code = [(int(at, 16), name, rest) for at, name, rest in INSTRUCTION.findall(listing)]
        assert self._code, file

    def count(self, instruction: str) -> int:
        return self._names(self._code)[instruction]

    def in_loops(self, instruction: str, beside: str) -> int:
        """How often an instruction stands in those innermost loops that hold the instruction `beside` too."""
        loops = [self._names(each) for each in self._innermost_loops()]
        return sum(names[instruction] for names in loops if names[beside])

    def loops_with(self, instruction: str) -> int:
        return sum(self._names(each)[instruction] > 0 for each in self._innermost_loops())

    @staticmethod
    def _names(code: list[tuple[int, str, str]]) -> Counter[str]:
        return Counter(name.split(".")[0] for _, name, _ in code)

    def _innermost_loops(self) -> list[list[tuple[int, str, str]]]:
        jumps = [(at, re.search(r"0x([0-9a-f]+)", rest)) for at, name, rest in self._code if name.startswith("BRA")]
        backward = [(int(to[1], 16), at) for at, to in jumps if to is not None and int(to[1], 16) < at]
        innermost = [
            (first, last)
            for first, last in backward
            if not any((first, last) != other and first <= other[0] and other[1] <= last for other in backward)
        ]
        return [[each for each in self._code if first <= each[0] <= last] for first, last in innermost]
