class PlainLinear:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix


class TensorParallelHead:
    def __init__(self, linear: object, should_gather: bool) -> None:
        self.linear = linear
        self.should_gather = should_gather

    @staticmethod
    def load(config, prefix: str, weights) -> "TensorParallelHead":
        linear = PlainLinear(f"{prefix}.weight")
        return TensorParallelHead(linear, should_gather=False)
