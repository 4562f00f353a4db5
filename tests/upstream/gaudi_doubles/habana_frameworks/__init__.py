"""A stand-in for Gaudi's software on a CPU: what TGI's Gaudi server imports for its weights and parallel layers.

Its 4-bit op is scripts/lib/hpu_emulation.py. Attention and graphs are names without a body.
"""
