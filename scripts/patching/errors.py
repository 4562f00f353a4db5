class Refused(Exception):
    """The tree is not what the patch set is for, or would not mean what it should: nothing was written. Exit code 1."""


class Unusable(Exception):
    """Something needed cannot be found, read or written: nothing was changed. Exit code 3."""
