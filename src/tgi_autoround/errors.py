"""The errors users see. Each message says what happened, where, and what to do about it."""


class TgiAutoRoundError(Exception):
    """Base of every error that is the user's to read; the command line prints it without a traceback."""


class ConfigError(TgiAutoRoundError):
    """An option, an environment variable or a combination of them is wrong."""


class CheckpointError(TgiAutoRoundError):
    """A checkpoint's files are missing, broken, or contradict each other."""


class UnsupportedError(TgiAutoRoundError):
    """The checkpoint is sound, but this release or this machine cannot run it exactly."""


class QuantizeError(TgiAutoRoundError):
    """A quantization job was refused or failed."""


class EngineError(TgiAutoRoundError):
    """The engine cannot take or finish a request."""


class GrammarError(EngineError):
    """A grammar is malformed, or asks for what cannot be enforced."""


class KernelError(TgiAutoRoundError):
    """A GPU kernel's machine code is damaged, or the driver refused to load or to run it."""
