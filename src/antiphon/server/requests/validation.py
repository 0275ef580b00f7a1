"""Validates the fields of a request against its pydantic model, with errors that name the field as clients spell it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from antiphon.errors import InvalidParameter, quoted
from antiphon.validation_messages import requirement

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], fields: Mapping[str, Any], *, parent: str | None = None) -> Model:
    """A `model` of `fields`. InvalidParameter names the first wrong field; `parent` is the field that holds the object."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        wrong = error.errors()[0]
        if not wrong["loc"]:
            raise InvalidParameter(f"{parent} has a name that is not valid Unicode.", param=parent) from error
        field = str(wrong["loc"][0]).removesuffix("[]")
        name = f"{parent}[{field}]" if parent else field
        code = "invalid_value"
        if wrong["type"] == "missing":
            message, code = f"{name} is missing.", "missing_field"
        elif wrong["type"] == "extra_forbidden":
            message = f"{parent} has no {quoted(field)}; it has: {', '.join(model.model_fields)}."
        elif wrong["type"] == "literal_error":
            choices = wrong["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
            message = f"{name} {quoted(wrong['input'])} is not available; use one of: {choices}."
        elif wrong["type"] in ("greater_than_equal", "less_than_equal"):
            message = f"{name} must be {_range(model, field)}, not {quoted(fields[field])}."
        else:
            message = f"{name} is {quoted(fields[field])}: {requirement(wrong)}."
        raise InvalidParameter(message, param=parent or field, code=code) from error


def _range(model: type[BaseModel], field: str) -> str:
    metadata = model.model_fields[field].metadata
    limits = [f"{getattr(item, end):g}" for item in metadata for end in ("ge", "le") if hasattr(item, end)]
    return f"from {' to '.join(limits)}" if len(limits) == 2 else f"at least {limits[0]}"
