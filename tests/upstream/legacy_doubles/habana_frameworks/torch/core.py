def mark_step() -> None:
    """End a step of lazy mode; a CPU has none."""
