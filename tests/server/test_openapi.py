"""The OpenAPI document has TGI's schema names and fields, and docs/api.md tells them."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.server.live import LiveServer

ROOT = Path(__file__).parents[2]
TGI = yaml.safe_load((ROOT / "docs/api-fields.yaml").read_text(encoding="utf-8"))
TAGS = {"object"}
"""What TGI's document leaves out, though its answers have it."""

Schemas = dict[str, Any]


@pytest.fixture(scope="module")
def document(server: LiveServer) -> dict[str, Any]:
    return server.http.get("/openapi.json").json()


def own_schema(name: str, schemas: Schemas) -> str:
    """A schema's JSON, with that of the nameless parts that TGI writes in place and that have names here."""
    text = json.dumps(schemas[name])
    parts = set(re.findall(r'"#/components/schemas/(\w+)"', text)) - set(TGI)
    return text + "".join(own_schema(part, schemas) for part in parts)


def own_fields(name: str, schemas: Schemas) -> set[str]:
    schema = schemas[name]
    parts = [schema, *schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    nameless = {part["$ref"].rpartition("/")[2] for part in parts if "$ref" in part} - set(TGI)
    fields = {field for part in parts for field in part.get("properties", ())}
    return fields.union(*(own_fields(part, schemas) for part in nameless))


@pytest.mark.parametrize("name", TGI)
def test_a_schema_has_tgis_name_and_fields(document: dict[str, Any], name: str) -> None:
    schemas = document["components"]["schemas"]
    assert own_fields(name, schemas) - TAGS == set(TGI[name]["fields"]) - TAGS


@pytest.mark.parametrize("name", [name for name in TGI if "unites" in TGI[name]])
def test_a_schema_is_put_together_of_tgis(document: dict[str, Any], name: str) -> None:
    text = own_schema(name, document["components"]["schemas"])
    assert [part for part in TGI[name]["unites"] if f'"#/components/schemas/{part}"' not in text] == []


@pytest.mark.parametrize("name", TGI)
def test_a_schemas_routes_are_there(document: dict[str, Any], name: str) -> None:
    assert set(TGI[name]["routes"]) <= set(document["paths"])


def test_the_document_is_at_tgis_address_too(server: LiveServer, document: dict[str, Any]) -> None:
    assert server.http.get("/api-doc/openapi.json").json() == document
    assert document["info"]["title"] == "Text Generation Inference"
    assert set(document["paths"]) == {
        "/", "/generate", "/generate_stream", "/tokenize", "/v1/chat/completions", "/v1/completions",
        "/invocations", "/vertex", "/chat_tokenize", "/health", "/info", "/v1/models", "/metrics",
    }  # fmt: skip


def test_the_documentation_is_a_page(server: LiveServer) -> None:
    assert "swagger" in server.http.get("/docs").text


def test_the_page_of_the_api_is_up_to_date() -> None:
    command = [sys.executable, ROOT / "scripts/api_table.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr.strip()) == (0, "")
