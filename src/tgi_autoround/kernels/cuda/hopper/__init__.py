"""Kernels for Hopper GPUs (sm_90a), written in Gluon and compiled ahead of time."""
