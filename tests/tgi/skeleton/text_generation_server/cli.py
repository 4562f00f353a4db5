import json
from enum import Enum
from pathlib import Path

import typer

app = typer.Typer()


class Quantization(str, Enum):
    gptq = "gptq"
    awq = "awq"
    marlin = "marlin"


class Dtype(str, Enum):
    float16 = "float16"
    bfloat16 = "bfloat16"


@app.command()
def serve(
    model_id: str,
    revision: str | None = None,
    sharded: bool = False,
    quantize: Quantization | None = None,
    dtype: Dtype | None = None,
    uds_path: Path = Path("/tmp/text-generation-server"),
    logger_level: str = "INFO",
    json_output: bool = False,
) -> None:
    if quantize is not None and dtype is not None:
        raise typer.BadParameter("dtype and quantize exclude each other")

    from text_generation_server.models import get_model

    model = get_model(model_id, revision, sharded, quantize and quantize.value, dtype and dtype.value)
    typer.echo(json.dumps(model.description()))


@app.command()
def download_weights(model_id: str, revision: str | None = None, extension: str = ".safetensors") -> None:
    typer.echo(json.dumps({"model_id": model_id, "revision": revision, "extension": extension}))


if __name__ == "__main__":
    app()
