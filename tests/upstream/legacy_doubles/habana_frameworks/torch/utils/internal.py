def is_lazy() -> bool:
    return True
