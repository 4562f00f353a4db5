"""`text-generation-server`, as installed: TGI's own in all but AutoRound's quantize."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("text-generation-server")
LIMIT_S = 120
UPSTREAMS_CLI = """
import json, sys, typer
app = typer.Typer()

@app.command()
def serve(model_id: str, sharded: bool = False):
    print(json.dumps(sys.argv))
    raise typer.Exit(int(model_id) if model_id.isdecimal() else 0)

@app.command()
def download_weights(model_id: str, extension: str = ".safetensors"):
    raise RuntimeError(f"no {extension} of {model_id}")

@app.command()
def quantize(model_id: str, output_dir: str, groupsize: int = 128, upload_to_model_id: str = None):
    print(json.dumps([model_id, output_dir, groupsize, upload_to_model_id]))
"""
# What pip writes for TGI's own entry point, `text_generation_server.cli:app`.
UPSTREAMS_SCRIPT = f"""#!{sys.executable}
import sys
from text_generation_server.cli import app
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit(app())
"""

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package text_generation_server of our own."""
    folder = tmp_path_factory.mktemp("upstream")
    package = folder / "text_generation_server"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(UPSTREAMS_CLI)
    return folder


@pytest.fixture(scope="module")
def image(upstream: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As in TGI's image, there is no auto-round beside it."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "text_generation_server").symlink_to(upstream / "text_generation_server")
    (folder / "sitecustomize.py").write_text("import sys; sys.modules['auto_round'] = None")
    return folder


def run(program: Path, python_path: Path | None, *arguments: object) -> Done:
    environment = {**os.environ, "COLUMNS": "100"}
    if python_path is not None:
        environment["PYTHONPATH"] = str(python_path)
    command = [program, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT_S)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--help",
        "serve --help",
        "serve some/model --sharded",
        "serve 7",
        "serve --method autoround",
        "download-weights some/model --extension=.bin",
        "download-weights",
        "unknown",
        "quantize --help",
        "quantize some/model out --groupsize 32",
        "quantize --MODEL_ID some/model",
    ],
)
def test_everything_else_is_upstreams(line: str, image: Path, tmp_path: Path) -> None:
    own = tmp_path / "text-generation-server"
    own.write_text(UPSTREAMS_SCRIPT)
    own.chmod(0o755)
    expected, got = run(own, image, *line.split()), run(COMMAND, image, *line.split())
    assert got.returncode == expected.returncode
    assert got.stdout == expected.stdout.replace(str(own), str(COMMAND))
    assert last_line(got.stderr) == last_line(expected.stderr)


def last_line(text: str) -> str:
    """Tracebacks differ in the frames that led to the error, not in the error."""
    return text.strip().splitlines()[-1] if text.strip() else ""


@pytest.mark.parametrize(
    "line",
    [
        "some/model out --method gptq",
        "--method=gptq some/model out",
        "some/model --METHOD gptq out",
        "--MODEL_ID some/model --OUTPUT_DIR out --method GPTQ",
        "--output-dir=out --method gptq --model-id=some/model",
    ],
)
def test_gptq_is_upstreams_without_the_options_that_it_does_not_have(line: str, image: Path) -> None:
    done = run(COMMAND, image, "quantize", *line.split(), "--groupsize", 64, "--upload-to-model-id", "a/b")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["some/model", "out", 64, "a/b"]


@pytest.mark.parametrize("spelling", ["--method autoround", "--method auto-round", "--method=AUTO_ROUND"])
def test_auto_round_in_tgis_image_names_the_image_that_quantizes(spelling: str, image: Path) -> None:
    done = run(COMMAND, image, "quantize", "some/model", "out", *spelling.split())
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "text-generation-server: --method autoround: auto-round needs newer torch and transformers than TGI holds; it "
        "runs in an image of its own, tgi-autoround:quantize: docker compose run --rm quantize MODEL OUT\n"
    )


@pytest.mark.parametrize("installed", [True, False])
def test_auto_round_quantizes_where_it_is_installed(installed: bool, upstream: Path, tmp_path: Path) -> None:
    arguments = ("quantize", "--MODEL_ID", tmp_path / "nowhere", "--OUTPUT_DIR", tmp_path / "out")
    done = run(COMMAND, upstream if installed else None, *arguments, "--method", "autoround")
    assert done.returncode == 1
    assert done.stderr == f"text-generation-server: {tmp_path / 'nowhere'}: no such model directory\n"


def test_an_unknown_method_gets_a_sentence(image: Path) -> None:
    done = run(COMMAND, image, "quantize", "some/model", "out", "--method", "awq")
    assert done.returncode == 1
    assert done.stderr == "text-generation-server: --method awq: autoround and gptq are known\n"


def test_starting_does_not_wait_for_torch() -> None:
    program = "import sys, tgi_autoround.tgi.server_command; print(sorted({'torch', 'typer'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
