"""Decoding on NVIDIA GPUs: few fused kernels, attention over the slots, a CUDA graph for each batch size."""
