"""TGI's grammars as the engine takes them, or TGI's message about what is wrong with one.

Rules, order and wording are those of router/src/validation.rs, TGI 3.3.7; the library that judges schemas is the same.
"""

from typing import Any

import jsonschema_rs
import orjson

from tgi_autoround.engine.request import Grammar
from tgi_autoround.server.errors import ValidationError
from tgi_autoround.server.schemas.grammar import GrammarType, JsonGrammar, RegexGrammar

# By reference: a schema's own `$schema` must not make the server fetch an address that a client chose.
SCHEMA_OF_SCHEMAS = jsonschema_rs.Draft202012Validator({"$ref": "https://json-schema.org/draft/2020-12/schema"})


def engine_grammar(grammar: GrammarType) -> Grammar:
    """Return the engine's form of `grammar`, the order of a schema's keys kept. Raises ValidationError."""
    if isinstance(grammar, RegexGrammar):
        return Grammar("regex", grammar.value)
    schema = _given_schema(grammar.value) if isinstance(grammar, JsonGrammar) else grammar.value.schema_
    try:
        SCHEMA_OF_SCHEMAS.validate(schema)
    except ValueError as error:
        raise invalid(getattr(error, "message", str(error))) from error
    if not isinstance(schema, dict) or "properties" not in schema:
        raise invalid("Grammar must have a 'properties' field")
    return Grammar("json", _text_of(schema))


def invalid(reason: str) -> ValidationError:
    """Return the error of a grammar that cannot be used."""
    return ValidationError(f"grammar is not valid: {reason}")


def _given_schema(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise invalid(str(error)) from error
    if not isinstance(value, dict):
        raise ValidationError("grammar is not supported")
    return value


def _text_of(schema: Any) -> str:
    try:
        return orjson.dumps(schema).decode()
    except orjson.JSONEncodeError as error:
        raise invalid(f"the JSON schema is nested too deeply: {error}") from error
