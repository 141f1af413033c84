"""The types that the Python programs with pydantic want answers in."""

# mypy: ignore-errors
# It runs in environments of its own.

from typing import Literal

from pydantic import BaseModel, Field


class River(BaseModel):
    name: str = Field(max_length=30)
    km: int = Field(ge=0, le=9000)


class Place(BaseModel):
    """A place on a river."""

    name: str = Field(max_length=30)
    kind: Literal["city", "town", "village"]
    rivers: list[River] = Field(max_length=2)
    twin: str | None = Field(max_length=30)
