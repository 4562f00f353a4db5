def build_regex_from_schema(*_: object) -> None:
    raise NotImplementedError
