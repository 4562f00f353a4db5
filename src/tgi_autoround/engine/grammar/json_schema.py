"""JSON schemas as TGI reads them: properties make an object, which holds them and no others."""

from typing import Any

_NAMED_SCHEMAS = ("properties", "$defs", "definitions")
_LISTED_SCHEMAS = ("anyOf", "oneOf", "prefixItems")
_COMBINED = ("allOf", "anyOf", "oneOf", "$ref")
_OPENING = ("additionalProperties", "unevaluatedProperties", "patternProperties")


def close_objects(schema: Any) -> Any:
    """Return the schema with `type: object` and `additionalProperties: false` where it lists properties.

    Each is added where the schema says nothing of it; `properties` alone would also allow what is no object. What the
    result allows, the schema allows. Objects that are put together from several schemas stay as they are, because each
    part would forbid the other parts' properties.
    """
    if not isinstance(schema, dict) or "allOf" in schema:
        return schema
    closed = dict(schema)
    for keyword in _NAMED_SCHEMAS:
        if isinstance(schema.get(keyword), dict):
            closed[keyword] = {name: close_objects(part) for name, part in schema[keyword].items()}
    if isinstance(schema.get("items"), dict):
        closed["items"] = close_objects(schema["items"])
    if "properties" in schema:
        if not any(keyword in schema for keyword in _COMBINED):
            closed.setdefault("type", "object")
            if not any(keyword in schema for keyword in _OPENING):
                closed["additionalProperties"] = False
        return closed
    for keyword in _LISTED_SCHEMAS:
        if isinstance(schema.get(keyword), list):
            closed[keyword] = [close_objects(part) for part in schema[keyword]]
    return closed


def combines_schemas(schema: Any) -> bool:
    """Return whether `allOf` occurs anywhere, through which any definition may become part of an object."""
    if isinstance(schema, dict):
        return "allOf" in schema or any(combines_schemas(part) for part in schema.values())
    return isinstance(schema, list) and any(combines_schemas(part) for part in schema)
