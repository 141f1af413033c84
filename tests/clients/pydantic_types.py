"""Types as pydantic's documentation has them, each with a value: their JSON schemas as one JSON object.

Every name begins with the page of the documentation. The value is JSON that pydantic itself accepts for the type.
"""

# mypy: ignore-errors
# It runs in an environment of its own, with a pydantic that mypy does not see.

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Optional, TypeVar
from uuid import UUID

from pydantic import (
    UUID4,
    AliasChoices,
    AnyUrl,
    AwareDatetime,
    Base64Str,
    BaseModel,
    ByteSize,
    ConfigDict,
    Discriminator,
    EmailStr,
    Field,
    FiniteFloat,
    HttpUrl,
    IPvAnyAddress,
    Json,
    JsonValue,
    NameEmail,
    NonNegativeInt,
    PastDate,
    PositiveInt,
    PostgresDsn,
    RootModel,
    SecretStr,
    StrictInt,
    StringConstraints,
    Tag,
    TypeAdapter,
    conlist,
)
from pydantic.dataclasses import dataclass
from pydantic.json_schema import SkipJsonSchema, WithJsonSchema
from typing_extensions import TypeAliasType, TypedDict

T = TypeVar("T")
TYPES = {}


def documented(page, example):
    """Note a type by its page and name."""

    def note(kind):
        TYPES[f"{page}: {kind.__name__}"] = (kind, example)
        return kind

    return note


def note(name, kind, example):
    """Note a type that is no class, as the only field of a model as well as an answer of its own."""
    TYPES[name] = (kind, example)


# --- models ---


@documented("models", {"id": 7, "name": "Ada"})
class User(BaseModel):
    id: int
    name: str = "Jane Doe"


class Engine(BaseModel):
    cylinders: PositiveInt
    fuel: Literal["petrol", "diesel"] | None = None


@documented("models", {"name": "Beetle", "engine": {"cylinders": 4, "fuel": "petrol"}, "wheels": [{"size": 15.5}]})
class NestedModel(BaseModel):
    class Wheel(BaseModel):
        size: float

    name: str
    engine: Engine
    wheels: list[Wheel] = []


@documented("models", {"data": {"id": 1, "name": "é"}, "next": None})
class GenericPage(BaseModel, Generic[T]):
    data: T
    next: AnyUrl | None


TYPES["models: GenericPage"] = (GenericPage[User], TYPES["models: GenericPage"][1])


@documented("models", ["Bingo", "Rex"])
class RootOfNames(RootModel):
    root: list[str]


@documented("models", {"x": 1})
class ExtraForbidden(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int


@documented("models", {"x": 1, "more": True})
class ExtraAllowed(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int


@documented("models", {"x": 1, "more": 2})
class ExtraTyped(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int]
    x: int


@documented("models", {"a": 1, "b": "two"})
class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)
    a: int
    b: str = Field(frozen=True)


# --- forward annotations: recursive types ---


@documented("forward annotations", {"value": 1, "children": [{"value": 2, "children": []}]})
class TreeNode(BaseModel):
    value: int
    children: list["TreeNode"] = []


@documented("forward annotations", {"name": "a", "sibling": {"name": "b", "sibling": None}})
class Sibling(BaseModel):
    name: str
    sibling: Optional["Sibling"] = None


@documented("forward annotations", {"owner": {"name": "Ada", "pets": [{"owner": None}]}})
class Pet(BaseModel):
    owner: Optional["Owner"] = None


class Owner(BaseModel):
    name: str
    pets: list[Pet] = []


Pet.model_rebuild()

Numbers = TypeAliasType("Numbers", "int | list[Numbers]")
note("forward annotations: recursive alias", Numbers, [1, [2, [3]], []])


# --- unions ---


class Cat(BaseModel):
    pet_type: Literal["cat"]
    color: Literal["black", "white"]


class Dog(BaseModel):
    pet_type: Literal["dog"]
    barks: float


class Lizard(BaseModel):
    pet_type: Literal["reptile", "lizard"]
    scales: bool


@documented("unions", {"pet": {"pet_type": "lizard", "scales": True}, "n": 1})
class DiscriminatedPet(BaseModel):
    pet: Cat | Dog | Lizard = Field(discriminator="pet_type")
    n: int


class Square(BaseModel):
    kind: Literal["square"] = "square"
    side: float


class Circle(BaseModel):
    kind: Literal["circle"] = "circle"
    radius: float


@documented("unions", {"shape": {"kind": "circle", "radius": 2.5}})
class DiscriminatedByDefault(BaseModel):
    shape: Square | Circle = Field(discriminator="kind")


class BlackCat(BaseModel):
    pet_type: Literal["cat"]
    color: Literal["black"]
    luck: int


class WhiteCat(BaseModel):
    pet_type: Literal["cat"]
    color: Literal["white"]
    fur: str


AnyCat = Annotated[BlackCat | WhiteCat, Field(discriminator="color")]


@documented("unions", {"pet": {"pet_type": "cat", "color": "white", "fur": "long"}, "n": 1})
class NestedDiscriminators(BaseModel):
    pet: Annotated[AnyCat | Dog, Field(discriminator="pet_type")]
    n: int


class ApplePie(BaseModel):
    model_config = ConfigDict(extra="forbid")  # else every pie is also the other one, by their JSON schemas
    fruit: Literal["apple"] = "apple"
    slices: int


class PumpkinPie(BaseModel):
    model_config = ConfigDict(extra="forbid")
    filling: Literal["pumpkin"] = "pumpkin"
    slices: int


def pie_kind(value):
    """The tag of a pie, from JSON or from a model."""
    names = value if isinstance(value, dict) else value.model_fields_set
    return "pumpkin" if "filling" in names else "apple"


@documented("unions", {"dessert": {"filling": "pumpkin", "slices": 8}})
class CallableDiscriminator(BaseModel):
    dessert: Annotated[
        Annotated[ApplePie, Tag("apple")] | Annotated[PumpkinPie, Tag("pumpkin")], Discriminator(pie_kind)
    ]


@documented("unions", {"id": "b2", "value": 2.5})
class SmartUnion(BaseModel):
    id: int | str | UUID
    value: Annotated[int | float | bool, Field(union_mode="left_to_right")]


@documented("unions", {"items": [{"pet_type": "dog", "barks": 0.5}, {"pet_type": "cat", "color": "black"}]})
class ListOfUnion(BaseModel):
    items: list[Annotated[Cat | Dog, Field(discriminator="pet_type")]]


# --- fields ---


@documented("fields", {"positive": 1, "non_negative": 0, "even": 4, "love_for_pydantic": 0.5, "short": "foo"})
class Constrained(BaseModel):
    positive: int = Field(gt=0)
    non_negative: int = Field(ge=0)
    even: int = Field(multiple_of=2)
    love_for_pydantic: float = Field(ge=0, lt=1)
    short: str = Field(min_length=3, max_length=10)


@documented("fields", {"digits": "0123", "code": "AB-12"})
class Patterned(BaseModel):
    digits: str = Field(pattern=r"^\d*$")
    code: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}-\d{2}$", to_upper=True, strip_whitespace=True)]


@documented("fields", {"precise": "123.45"})
class DecimalDigits(BaseModel):
    precise: Decimal = Field(max_digits=5, decimal_places=2)


@documented("fields", {"price": 9.5})
class DecimalBounds(BaseModel):
    price: Annotated[Decimal, Field(gt=0, le=100)]


@documented("fields", {"bars": [1, 2], "tags": ["a"]})
class ListLengths(BaseModel):
    bars: Annotated[list[int], Field(min_length=1, max_length=3)]
    tags: conlist(str, min_length=1)


@documented("fields", {"name": "x", "unique": [1, 2]})
class Defaults(BaseModel):
    name: str = "John"
    unique: list[int] = Field(default_factory=list)


@documented("fields", {"old": 1, "shown": "a", "hidden": 2})
class Described(BaseModel):
    """A model with annotations alone."""

    old: Annotated[int, Field(deprecated="Use shown.")]
    shown: str = Field(title="Shown", description="What is shown.", examples=["a", "b"])
    hidden: int | SkipJsonSchema[None] = Field(default=None, json_schema_extra={"x-order": 3})


@documented("alias", {"name": "Ada", "userAge": 36})
class Aliased(BaseModel):
    name: str
    age: int = Field(alias="userAge")


@documented("alias", {"firstName": "Ada", "last-name": "Lovelace"})
class ValidationAliases(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    first: str = Field(validation_alias="firstName", serialization_alias="first_name")
    last: str = Field(validation_alias=AliasChoices("last-name", "surname"))


# --- standard library types ---

note("standard library: dict[str, T]", dict[str, Engine], {"a": {"cylinders": 1, "fuel": None}})
note("standard library: dict[Literal, T]", dict[Literal["red", "green"], int], {"red": 1})
note("standard library: dict[int, T]", dict[int, str], {"1": "one"})
note("standard library: dict[pattern, T]", dict[Annotated[str, Field(pattern="^[a-z]+$")], float], {"abc": 1.5})
note("standard library: dict with lengths", Annotated[dict[str, int], Field(min_length=1, max_length=3)], {"a": 1})
note("standard library: Mapping of lists", Mapping[str, Sequence[bool]], {"a": [True, False]})
note("standard library: tuple", tuple[int, str, float], [1, "a", 2.5])
note("standard library: tuple of any length", tuple[int, ...], [1, 2, 3])
note("standard library: set", set[int], [1, 2])
note("standard library: frozenset", frozenset[str], ["a", "b"])
note("standard library: deque", deque[int], [3, 2, 1])
note("standard library: None", None, None)
note("standard library: Any", Any, {"anything": [1, None]})
note("standard library: bytes", bytes, "abc")
note("standard library: datetime", datetime, "2032-04-23T10:20:30Z")
note("standard library: date", date, "2032-04-23")
note("standard library: time", time, "10:20:30.500000Z")
note("standard library: timedelta", timedelta, "P3DT12H30M5S")
note("standard library: Decimal", Decimal, "-12.50")
note("standard library: UUID", UUID, "ebcdab58-6eb8-46fb-a190-d07a33e9eac8")
note("standard library: IPv4Address", IPv4Address, "192.168.0.1")
note("standard library: IPv6Address", IPv6Address, "2001:db8::1")
note("standard library: IPv4Network", IPv4Network, "192.168.0.0/24")
note("standard library: Path", Path, "/usr/share/doc")
note("standard library: Literal of kinds", Literal["a", 1, True, None], "a")


class Fruit(StrEnum):
    pear = "pear"
    banana = "banana"


class Tool(IntEnum):
    spanner = 1
    wrench = 2


@documented("standard library", {"fruit": "banana", "tool": 2})
class Enums(BaseModel):
    fruit: Fruit = Fruit.pear
    tool: Tool


class Point(NamedTuple):
    x: int
    y: int = 0


note("standard library: NamedTuple", list[Point], [[1, 2], [3, 0]])


@documented("standard library", {"name": "Ada", "surname": "Lovelace"})
class TypedUser(TypedDict, total=False):
    name: str
    surname: str


@documented("dataclasses", {"id": 1, "friends": [2, 3]})
@dataclass
class DataclassUser:
    id: int
    friends: list[int] = field(default_factory=lambda: [0])


# --- pydantic's own types ---

note("types: StrictInt", StrictInt, 3)
note("types: NonNegativeInt", NonNegativeInt, 0)
note("types: FiniteFloat", FiniteFloat, -0.5)
note("types: PastDate", PastDate, "1999-12-31")
note("types: AwareDatetime", AwareDatetime, "2032-04-23T10:20:30+01:30")
note("types: UUID4", UUID4, "ebcdab58-6eb8-46fb-a190-d07a33e9eac8")
note("types: SecretStr", SecretStr, "hidden")
note("types: Json", Json[list[int]], "[1, 2]")
note("types: JsonValue", JsonValue, {"a": [1, "b", None]})
note("types: Base64Str", Base64Str, "aGVsbG8=")
note("types: ByteSize", ByteSize, "3000 KiB")

# --- networks ---

note("networks: AnyUrl", AnyUrl, "https://example.com/a?b=c")
note("networks: HttpUrl", HttpUrl, "https://example.com")
note("networks: EmailStr", EmailStr, "ada@example.com")
note("networks: NameEmail", NameEmail, "Ada <ada@example.com>")
note("networks: IPvAnyAddress", IPvAnyAddress, "::1")
note("networks: PostgresDsn", PostgresDsn, "postgres://user@host.example:5432/db")

# --- JSON schema ---

note("json schema: WithJsonSchema", list[Annotated[int, WithJsonSchema({"type": "integer", "enum": [1, 2]})]], [1, 2])


def main():
    described = {}
    for name, (kind, example) in TYPES.items():
        adapter = TypeAdapter(kind)
        adapter.validate_json(json.dumps(example))
        described[name] = {"schema": adapter.json_schema(), "example": example}
    print(json.dumps(described))


if __name__ == "__main__":
    main()
