class PlainLoader:
    pass


class GPTQLoader:
    pass


def get_loader(quantize: str | None, model_id: str, revision: str | None) -> object:
    if quantize is None:
        return PlainLoader()
    if quantize == "gptq":
        return GPTQLoader()
    raise ValueError(f"Unknown quantization method {quantize} of {model_id} at {revision}")
