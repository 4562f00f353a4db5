"""Small stand-in for tgi-gaudi 2.0's command line: the anchors of its patch set, one load and one step behind them."""

from enum import Enum

import typer

app = typer.Typer()


class Quantization(str, Enum):
    gptq = "gptq"


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
    prompt: str = "1 2 3",
):
    """Load the model, and print the logits of the token that follows the prompt's."""
    from text_generation_server.models.causal_lm import CausalLM

    quantize = None if quantize is None else quantize.value
    dtype = "bfloat16" if dtype is None else dtype.value
    model = CausalLM(model_id, revision, dtype=dtype)
    typer.echo(model.logits([int(token) for token in prompt.split()]))


@app.command()
def download_weights(model_id: str):
    """Makes `serve` a command of several."""


if __name__ == "__main__":
    app()
