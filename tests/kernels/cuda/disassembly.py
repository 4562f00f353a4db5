"""What NVIDIA's disassembler, which comes with triton, says of machine code."""

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import triton

CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
Code = list[tuple[int, str, str]]
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
        self._jumps = list(self._find_jumps())

    def count(self, instruction: str) -> int:
        return self._names(self._code)[instruction]

    def loops_with(self, instruction: str) -> int:
        return len(self._loops_around(instruction))

    def in_loops(self, instruction: str, beside: str) -> int:
        """How often an instruction stands in the loops that hold the instruction `beside` most closely.

        What a turn may jump over without missing `beside`, such as a block's end, does not count.
        """
        return sum(self._names(self._run_every_turn(each, beside))[instruction] for each in self._loops_around(beside))

    def _loops_around(self, instruction: str) -> list[Code]:
        """The smallest loop around each place of the instruction; smaller ones beside it only wait for a barrier."""
        found = set()
        for at in [at for at, name, _ in self._code if name.split(".")[0] == instruction]:
            around = [(last - first, first, last) for last, first in self._jumps if first <= at <= last]
            if around:
                found.add(min(around))
        return [[each for each in self._code if first <= each[0] <= last] for _, first, last in found]

    def _run_every_turn(self, loop: Code, instruction: str) -> Code:
        jumped_over = [(at, to) for at, to in self._jumps if loop[0][0] <= at < to <= loop[-1][0]]
        parts = [[each for each in loop if at < each[0] < to] for at, to in jumped_over]
        missing = {each[0] for part in parts if not self._names(part)[instruction] for each in part}
        return [each for each in loop if each[0] not in missing]

    def _find_jumps(self) -> Iterator[tuple[int, int]]:
        for at, name, rest in self._code:
            to = re.search(r"0x([0-9a-f]+)", rest) if name.startswith("BRA") else None
            if to is not None:
                yield at, int(to[1], 16)

    @staticmethod
    def _names(code: Code) -> Counter[str]:
        return Counter(name.split(".")[0] for _, name, _ in code)
