class FusedSDPA: ...


class RotaryPosEmbeddingMode: ...


def apply_rotary_pos_emb(*_: object) -> None:
    raise NotImplementedError
