"""What a value must be, in words, for each kind of error that pydantic reports."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from antiphon.validation_messages import requirement


class Everything(BaseModel):
    """A field for each kind of error that a setting or a request field can have."""

    flag: bool = False
    whole: int = Field(0, ge=0, le=9)
    number: float = Field(1.0, gt=0, lt=10, allow_inf_nan=False)
    text: str = ""
    choice: Literal["a", "b"] = "a"
    mapping: dict[str, str] = {}

    @field_validator("text")
    @classmethod
    def _no_spaces(cls, value: str) -> str:
        if " " in value:
            raise ValueError("it must be one word")
        return value


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("flag", "q", "it must be true or false"),
        ("whole", "q", "it must be a valid integer"),
        ("whole", None, "it must be a valid integer"),
        ("whole", 1.5, "it must be a valid integer, got a number with a fractional part"),
        ("whole", -1, "it must be greater than or equal to 0"),
        ("whole", 10, "it must be less than or equal to 9"),
        ("number", 0, "it must be greater than 0"),
        ("number", 10, "it must be less than 10"),
        ("number", "nan", "it must be a finite number"),
        ("number", {}, "it must be a valid number"),
        ("text", 5, "it must be a valid string"),
        ("text", "a b", "it must be one word"),
        ("choice", "c", "it must be 'a' or 'b'"),
        ("mapping", 5, "it must be a valid dictionary"),
    ],
)
def test_requirement_of_each_pydantic_error(field: str, value: object, sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Everything.model_validate({field: value})
    assert requirement(caught.value.errors()[0]) == sentence
