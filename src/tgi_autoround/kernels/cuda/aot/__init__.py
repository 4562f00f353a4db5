"""Kernels compiled ahead of time, without a GPU, into the machine code that the package ships. Needs triton."""
