"""Patches that only insert, anchored at symbols. Standard library and Python 3.10: they run inside TGI's images."""
