from intel_extension_for_pytorch.llm import functional, modules

__all__ = ["functional", "modules"]
