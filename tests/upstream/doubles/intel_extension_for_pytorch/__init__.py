"""A stand-in for Intel's extension, in plain torch: TGI's server takes its flash path on a CPU where it finds one.

Only what `text_generation_server` 3.3.7 calls with ATTENTION=paged; shapes are read off the call sites.
"""

from intel_extension_for_pytorch import distributed, llm

__all__ = ["distributed", "llm"]
__version__ = "0"
