"""What is compiled ahead of time: one kernel for one architecture, with everything that is constant in it.

No triton is needed to read this: while serving, a specialization's name finds the machine code that was made from it.
"""

from dataclasses import dataclass

Constant = bool | int | float | str | None

ARCHITECTURE_OF_CAPABILITY = {(8, 0): "sm_80", (8, 6): "sm_86", (8, 9): "sm_89", (9, 0): "sm_90a"}


@dataclass(frozen=True, slots=True)
class Specialization:
    """
    name: what a launch asks for, unique within the architecture
    kernel: `module:function`, the module within `tgi_autoround.kernels.cuda`
    arguments: names and types of what a launch passes, in the kernel's order, as triton spells types: "*bf16", "i32",
        "tensordesc<bf16[64, 64],LAYOUT>" for a tensor read by the copy engine
    constants: names and values of the kernel's compile-time parameters
    multiples_of_16: integer arguments that 16 divides; addresses always are
    max_registers: of a thread, where several blocks have to share a multiprocessor
    """

    name: str
    architecture: str
    kernel: str
    arguments: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Constant], ...]
    warps: int
    stages: int = 3
    multiples_of_16: tuple[str, ...] = ()
    max_registers: int | None = None

    @property
    def file_name(self) -> str:
        """The machine code's file, `ARCHITECTURE-NAME.cubin`."""
        return f"{self.architecture}-{self.name}.cubin"
