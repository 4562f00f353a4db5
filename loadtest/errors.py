"""The error whose message is for the user: what happened, where, and what to do."""


class LoadTestError(Exception):
    """The load test cannot go on as asked; the message names the remedy."""
