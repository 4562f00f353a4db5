"""What one user is going to say."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Talk:
    """The user's side of a conversation; a single prompt is a talk of one turn."""

    turns: tuple[str, ...]
