"""JSON of the constraints on an output."""

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field
from typing_extensions import TypeAliasType

from tgi_autoround.server.schemas.base import RequestModel


class JsonGrammar(RequestModel):
    """A JSON schema, as an object or as a string that holds one."""

    type: Literal["json", "json_object"]
    value: Any = Field(examples=[{"properties": {"location": {"type": "string"}}}])


class RegexGrammar(RequestModel):
    """A regular expression."""

    type: Literal["regex"]
    value: str


class JsonSchemaConfig(RequestModel):
    """A JSON schema with a name."""

    name: str | None = None
    schema_: Any = Field(validation_alias="schema", serialization_alias="schema")


class JsonSchemaGrammar(RequestModel):
    """A JSON schema with a name; OpenAI's clients send it as `json_schema`."""

    type: Literal["json_schema"]
    value: JsonSchemaConfig = Field(validation_alias=AliasChoices("value", "json_schema"))


# Named alias: TGI's name for the union is part of its OpenAPI document.
GrammarType = TypeAliasType(
    "GrammarType", Annotated[JsonGrammar | RegexGrammar | JsonSchemaGrammar, Field(discriminator="type")]
)
