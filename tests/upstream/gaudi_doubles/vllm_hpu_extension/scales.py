def get_hpu_gaudi2_scale_factor(*_: object) -> None:
    raise NotImplementedError


def is_hpu_gaudi2() -> bool:
    return False
