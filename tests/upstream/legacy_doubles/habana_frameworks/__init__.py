"""A stand-in for Gaudi's software on a CPU: what optimum-habana 1.13 and tgi-gaudi 2.0 need to serve a model.

The card is the CPU under another name, its 4-bit op is scripts/lib/hpu_emulation.py. Fused kernels are left out, which
optimum-habana takes as a reason to compute in plain torch.
"""
