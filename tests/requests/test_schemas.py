"""A class becomes the strict schema of structured outputs, or an error that names the field."""

from __future__ import annotations

import dataclasses
import datetime as dt  # noqa: TC003  # read at run time
import decimal
import enum
import json
import uuid  # noqa: TC003
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given, strategies as st

from openai_batches import InputError
from openai_batches.requests.schemas import format_parameters, json_schema_format

RESPONSES = "/v1/responses"


def schema(cls: Any, **options: Any) -> dict[str, Any]:
    made = json_schema_format(cls, endpoint=RESPONSES, **options)["schema"]
    assert isinstance(made, dict)
    return made


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class Place:
    """Where it is."""

    street: str
    number: Annotated[int, msgspec.Meta(ge=1, description="Of the house")]
    floor: int | None = None


@attrs.frozen
class Person:
    name: str
    home: Place
    work: Annotated[Place | None, msgspec.Meta(description="Daytime")] = None
    other: Annotated[Place, msgspec.Meta(description="Elsewhere")] = attrs.field(factory=lambda: Place("", 1))
    colour: Colour = Colour.RED
    mood: Literal["good", "bad"] | None = "good"
    age: int = 0
    tags: tuple[str, ...] = ()
    friends: list[Person] = attrs.field(factory=list)


def closed(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


STRING, INTEGER, NULL = {"type": "string"}, {"type": "integer"}, {"type": "null"}
PLACE = {
    "description": "Where it is.",
    **closed(
        street=STRING,
        number={"type": "integer", "description": "Of the house", "minimum": 1},
        floor={"anyOf": [INTEGER, NULL]},
    ),
}
PERSON = closed(
    name=STRING,
    home={"$ref": "#/$defs/Place"},
    work={"description": "Daytime", "anyOf": [{"$ref": "#/$defs/Place"}, NULL]},
    other={**PLACE, "description": "Elsewhere"},
    colour={"$ref": "#/$defs/Colour"},
    mood={"anyOf": [{"type": "string", "enum": ["bad", "good"]}, NULL]},
    age=INTEGER,
    tags={"type": "array", "items": STRING},
    friends={"type": "array", "items": {"$ref": "#/$defs/Person"}},
)
COLOUR = {"type": "string", "enum": ["blue", "red"]}


def test_a_class_of_everything() -> None:
    """Objects are closed, all fields required, defaults and titles gone, descriptions kept, classes shared by name."""
    made = schema(Person)
    definitions = made.pop("$defs")
    assert made == PERSON
    assert definitions == {"Place": PLACE, "Colour": COLOUR, "Person": PERSON}
    assert list(made["properties"]) == made["required"] == list(PERSON["properties"])


def test_the_two_endpoints_write_it_in_two_ways() -> None:
    """Chat nests name, strict and schema; responses lay them flat; both are ready for JSON."""
    chat = json_schema_format(Place, description="A place")
    flat = json_schema_format(Place, endpoint=RESPONSES, description="A place")
    entry = {"name": "Place", "strict": True, "schema": PLACE, "description": "A place"}
    assert chat == {"type": "json_schema", "json_schema": entry}
    assert flat == {"type": "json_schema", **entry}
    assert json.loads(json.dumps(chat)) == chat
    assert json_schema_format(Place, endpoint="/chat/completions")["json_schema"].keys() == {"name", "strict", "schema"}


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Cat(msgspec.Struct, tag="cat"):
    lives: int = 9


class Dog(msgspec.Struct, tag="dog"):
    pass


class Owner(msgspec.Struct):
    pet: Cat | Dog
    born: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    id: uuid.UUID


class PydanticCat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = pydantic.Field(ge=1, default=9, examples=[9])


class PydanticDog(pydantic.BaseModel):
    """A dog."""

    kind: Literal["dog"]
    puppies: list[PydanticDog] = []
    best: PydanticDog | None = pydantic.Field(default=None, description="of them all")


class PydanticOwner(pydantic.BaseModel):
    pet: PydanticCat | PydanticDog = pydantic.Field(discriminator="kind")
    first: PydanticCat = pydantic.Field(alias="firstCat", description="the first", json_schema_extra={"x-note": 1})


CAT = closed(kind={"type": "string", "const": "cat"}, lives={"type": "integer", "minimum": 1})
CLASSES: dict[str, tuple[Any, dict[str, Any]]] = {
    "dataclass": (Point, closed(x={"type": "number"}, y={"type": "number"})),
    "TypedDict": (Movie, closed(title={"type": "string"}, year={"type": "integer"})),
    "Struct": (
        Owner,
        {
            **closed(
                pet={"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]},
                born={"type": "string", "format": "date-time"},
                id={"type": "string", "format": "uuid"},
            ),
            "$defs": {
                "Cat": closed(type={"type": "string", "enum": ["cat"]}, lives={"type": "integer"}),
                "Dog": closed(type={"type": "string", "enum": ["dog"]}),
            },
        },
    ),
    "pydantic": (
        PydanticOwner,
        {
            **closed(
                pet={"anyOf": [{"$ref": "#/$defs/PydanticCat"}, {"$ref": "#/$defs/PydanticDog"}]},
                firstCat={**CAT, "description": "the first"},
            ),
            "$defs": {
                "PydanticCat": CAT,
                "PydanticDog": {
                    **closed(
                        kind={"type": "string", "const": "dog"},
                        puppies={"type": "array", "items": {"$ref": "#/$defs/PydanticDog"}},
                        best={"description": "of them all", "anyOf": [{"$ref": "#/$defs/PydanticDog"}, NULL]},
                    ),
                    "description": "A dog.",
                },
            },
        },
    ),
}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_kind_of_class(kind: str) -> None:
    """Each kind of class gives the schema one would write by hand."""
    cls, expected = CLASSES[kind]
    assert schema(cls) == expected


def test_a_class_in_itself_with_a_description() -> None:
    """Nothing may stand beside a reference: a described class is written out, except inside the class itself."""

    class Node(pydantic.BaseModel):
        value: int
        after: Node = pydantic.Field(description="the next one")

    node = closed(value={"type": "integer"}, after={"$ref": "#/$defs/Node"})
    assert schema(Node) == {
        **closed(value={"type": "integer"}, after={**node, "description": "the next one"}), "$defs": {"Node": node},
    }  # fmt: skip


def test_older_schemas_of_pydantic_say_the_same() -> None:
    """A composition of one schema is that schema."""

    class Older:
        @staticmethod
        def model_json_schema() -> dict[str, Any]:
            field = {"allOf": [{"$ref": "#/$defs/Place"}], "default": {}, "title": "T"}
            return {"type": ["object"], "properties": {"home": field}, "$defs": {"Place": {"type": "string"}}}

    assert schema(Older)["properties"] == {"home": {"$ref": "#/$defs/Place"}}


class Thought(TypedDict):
    reasoning: NotRequired[str]
    answer: str


class Longer(Thought):
    again: str
    and_then: NotRequired[Literal["a", 1, None]]  # noqa: PYI061


@attrs.frozen(kw_only=True)
class Mixed:
    zeroth: int = 0
    first: Longer
    last: int


class MixedStruct(msgspec.Struct, kw_only=True, rename="camel", tag=True):
    the_zeroth: int = 0
    a_first: Mixed


T = TypeVar("T")


@dataclasses.dataclass(kw_only=True)
class Box(Generic[T]):
    note: str = ""
    content: T


ORDERS = {
    Thought: ["reasoning", "answer"],
    Longer: ["reasoning", "answer", "again", "and_then"],
    Mixed: ["zeroth", "first", "last"],
    MixedStruct: ["type", "theZeroth", "aFirst"],
    Box[Mixed]: ["note", "content"],
}


@pytest.mark.parametrize("cls", ORDERS)
def test_fields_stand_in_the_order_of_the_class(cls: Any) -> None:
    """A model writes the fields in this order: what it is to think of first must come first, default or not."""
    made = schema(cls)
    assert list(made["properties"]) == made["required"] == ORDERS[cls]
    if "Longer" in made.get("$defs", {}):
        assert list(made["$defs"]["Longer"]["properties"]) == ORDERS[Longer]
        assert made["$defs"]["Longer"]["properties"]["and_then"] == {
            "enum": [None, 1, "a"], "type": ["null", "integer", "string"],
        }  # fmt: skip


class Row(msgspec.Struct, array_like=True):
    a: int


@attrs.frozen
class Free:
    nested: dict[str, int]


@attrs.frozen
class Deep:
    items: list[Free]


def field(kind: Any) -> Any:
    return dataclasses.make_dataclass("Answer", [("part", kind)])


def raw(**properties: Any) -> Any:
    class Raw:
        @staticmethod
        def model_json_schema() -> dict[str, Any]:
            return {"type": "object", "properties": properties}

    return Raw


REFUSED: dict[str, tuple[Any, str]] = {
    "mapping": (field(dict[str, int]), r"strict mode cannot express Answer\.part: it is a mapping of free keys"),
    "dict": (field(dict), r"Answer\.part: it is a mapping of free keys"),
    "mapping within": (Deep, r"strict mode cannot express Free\.nested: it is a mapping"),
    "mapping in a list": (field(list[dict[str, int]]), r"Answer\.part\[\]: it is a mapping"),
    "extra fields": (
        pydantic.create_model("Open", __config__=pydantic.ConfigDict(extra="allow"), a=(int, 1)),
        "express Open: it is a mapping of free keys",
    ),
    "fixed tuple": (field(tuple[int, str]), r"Answer\.part: it is a tuple of fixed places; use a class"),
    "row": (field(Row), r"Row: it is a tuple of fixed places"),
    "set": (field(frozenset[int]), r"Answer\.part: it is a set; use a list"),
    "bytes": (field(bytes), r"Answer\.part: it is bytes; use a str"),
    "Any": (field(Any), r"Answer\.part: it says nothing of its type"),
    "bare list": (field(list), r"Answer\.part\[\]: it says nothing of its type"),
    "decimal": (field(decimal.Decimal), r"Answer\.part: its format is 'decimal', not one of date, date-time"),
    "length": (
        field(Annotated[str, msgspec.Meta(max_length=3)]),
        r"Answer\.part: it is a greatest length; use a pattern",
    ),
    "unknown keyword": (raw(part={"type": "string", "not": {}}), r"Raw\.part: it has 'not'"),
    "composition": (raw(part={"allOf": [{"type": "string"}, {}]}), r"Raw\.part: it is several schemas at once"),
    "one of": (raw(part={"oneOf": [{"type": "string"}]}), r"Raw\.part: it is exactly one of several schemas"),
    "enum of lists": (raw(part={"enum": [[1]]}), r"Raw\.part: \[1\] cannot be a value of an enum"),
    "reference elsewhere": (raw(part={"$ref": "https://x/y"}), "it refers to 'https://x/y', which is not there"),
    "int": (int, "int is no class with fields"),
    "list": (list[Place], "list is no class with fields"),
    "union": (Cat | Dog, r"Cat \| .*Dog is no class with fields"),
    "root mapping": (dict[str, int], "express dict: it is a mapping of free keys"),
    "not a class": (7, "7 has no JSON schema"),
    "no schema": (field(complex), "Answer has no JSON schema"),
    "unresolved": (attrs.make_class("Lost", {"a": attrs.field(type="Nowhere")}), "Lost has no JSON schema: .*Nowhere"),  # type: ignore[arg-type]
    "pydantic without": (
        pydantic.create_model(
            "Odd",
            __config__=pydantic.ConfigDict(arbitrary_types_allowed=True),
            a=(object, ...),
            b=(complex, ...),
            c=(InputError, ...),
        ),
        "Odd has no JSON schema",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_strict_mode_cannot_express_is_refused_by_name(kind: str) -> None:
    """The error names the class and the field, and where there is one, the way out."""
    cls, message = REFUSED[kind]
    with pytest.raises(InputError, match=message):
        json_schema_format(cls)


def many(count: int, kind: Any = int, prefix: str = "f") -> Any:
    return dataclasses.make_dataclass("Wide", [(f"{prefix}{number:04d}", kind) for number in range(count)])


def nest(levels: int) -> Any:
    cls: Any = int
    for level in range(levels):
        cls = dataclasses.make_dataclass(f"Level{level}", [("down", cls), ("list", list[cls])])
    return cls


def values(count: int, chars: int) -> Any:
    return Literal[tuple(f"{number:0{chars}d}" for number in range(count))]


LIMITS: dict[str, tuple[Any, Any, str]] = {
    "fields": (many(5000), many(5001), "Wide: it has 5,001 fields, and 5,000 are the most"),
    "levels": (nest(10), nest(11), "Level10: its objects are 11 levels deep, and 10 are the most"),
    "enum values": (field(values(1000, 4)), field(values(1001, 4)), "Answer: it has 1,001 enum values"),
    "long enums": (field(values(251, 59)), field(values(251, 60)), "an enum of 251 values has more than 15,000"),
    "text": (
        many(100, prefix="x" * 1196),
        many(101, prefix="x" * 1196),
        "it has 121,200 characters of names and values",
    ),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_the_documented_limits(limit: str) -> None:
    """What is just within a limit is made, what is just beyond is refused."""
    within, beyond, message = LIMITS[limit]
    json_schema_format(within)
    with pytest.raises(InputError, match=message):
        json_schema_format(beyond)


def test_constants_count_as_values() -> None:
    """The text of a constant is text of the schema."""
    with pytest.raises(InputError, match="it has 120,005 characters"):
        json_schema_format(raw(part={"const": "x" * 120_001}))


def test_names() -> None:
    """A name is taken as given where the service takes it, and made from the class's where none is given."""
    assert json_schema_format(Place, name="a-B_9")["json_schema"]["name"] == "a-B_9"
    generic = attrs.make_class("Page[int] " + "x" * 80, {"a": attrs.field(type=int)})
    assert json_schema_format(generic)["json_schema"]["name"] == "Page_int__" + "x" * 54
    for name in ("", "a b", "x" * 65, 7, "ü"):
        with pytest.raises(InputError, match="name must be 1 to 64 characters"):
            json_schema_format(Place, name=name)  # type: ignore[arg-type]


TYPES = st.recursive(
    st.sampled_from([int, str, bool, float, Colour, Place, Point, Movie, Literal["a", 1]]),
    lambda inner: (
        inner.map(lambda kind: list[kind]) | inner.map(lambda kind: kind | None if kind is not Movie else kind)
    ),
    max_leaves=4,
)


def objects(made: Any) -> list[dict[str, Any]]:
    inner = made.values() if isinstance(made, dict) else made if isinstance(made, list) else ()
    found = [one for part in inner for one in objects(part)]
    return [*found, made] if isinstance(made, dict) and made.get("type") == "object" else found


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}_", fullmatch=True), st.tuples(TYPES, st.booleans()), max_size=6))
def test_every_object_is_closed_and_whole(parts: dict[str, tuple[Any, bool]]) -> None:
    """Whatever a class holds: each object forbids others and requires all of its own, and no reference dangles."""
    fields = [
        (name, kind, dataclasses.field(kw_only=True, **({"default": None} if free else {})))
        for name, (kind, free) in parts.items()
    ]
    made = schema(dataclasses.make_dataclass("Answer", fields))
    assert list(made["properties"]) == list(parts)
    for one in objects(made):
        assert one["additionalProperties"] is False
        assert one["required"] == list(one["properties"])
    text = json.dumps(made)
    assert '"default"' not in text
    assert '"title"' not in text.replace('"title": {', "").replace('["title"', "[")
    for name in made.get("$defs", {}):
        assert f'"#/$defs/{name}"' in text
    assert text.count('"$ref"') == sum(text.count(f'"#/$defs/{name}"') for name in made.get("$defs", {}))


def test_a_json_schema_is_made_strict_as_a_class_is() -> None:
    """One that was written by hand, or by another program, says the same as the class it describes."""
    written = {
        "title": "Place",
        "type": "object",
        "properties": {"city": {"type": "string", "default": "Rome"}, "people": {"$ref": "#/$defs/Count"}},
        "required": ["city"],
        "$defs": {"Count": {"type": "integer", "minimum": 0}, "Unused": {"type": "string"}},
    }
    made = json_schema_format(written)["json_schema"]
    assert made["name"] == "Place"
    count = {"type": "integer", "minimum": 0}
    assert made["schema"] == {**closed(city=STRING, people={"$ref": "#/$defs/Count"}), "$defs": {"Count": count}}
    assert json_schema_format({"type": "object", "properties": {}})["json_schema"]["name"] == "schema"


CHAT = "/v1/chat/completions"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}, "why": STRING}}
STRICT = closed(mood={"enum": ["good", "bad"], "type": "string"}, why=STRING)


def test_a_class_is_asked_for_where_the_endpoint_wants_it() -> None:
    assert format_parameters(Place, endpoint=CHAT) == {"response_format": json_schema_format(Place)}
    made = json_schema_format(Place, endpoint=RESPONSES)
    assert format_parameters(Place, endpoint=RESPONSES) == {"text": {"format": made}}


def test_a_schema_becomes_strict() -> None:
    """Each object is closed and each field required, as the service has it; its title is its name."""
    chat = format_parameters(SCHEMA, endpoint=CHAT, name="my review.v1")["response_format"]
    assert chat["json_schema"] == {"name": "my_review_v1", "strict": True, "schema": STRICT}
    flat = format_parameters({"title": "Review", **SCHEMA}, endpoint=RESPONSES, name="other")["text"]["format"]
    assert flat == {"type": "json_schema", "name": "Review", "strict": True, "schema": STRICT}


@pytest.mark.parametrize(
    "given",
    [
        {"schema": SCHEMA},
        {"schema": SCHEMA, "strict": False, "name": "mine"},
        {"type": "json_schema", "schema": SCHEMA, "name": "mine"},
        {"type": "json_schema", "json_schema": {"schema": SCHEMA, "name": "mine", "description": "d"}},
    ],
)
def test_a_format_that_says_more_than_its_schema_is_taken_at_its_word(given: dict[str, Any]) -> None:
    """Whatever stands around the schema stays as it is; only the place differs between the endpoints."""
    entry = {key: value for key, value in given.get("json_schema", given).items() if key != "type"}
    expected = {"name": "file", **entry}
    chat = format_parameters(given, endpoint=CHAT, name="file")
    assert chat == {"response_format": {"type": "json_schema", "json_schema": expected}}
    flat = format_parameters(given, endpoint=RESPONSES, name="file")
    assert flat == {"text": {"format": {"type": "json_schema", **expected}}}


def test_a_field_called_schema_makes_no_format() -> None:
    """A schema of objects that have a schema of their own is still one."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "schema": {"x": 1}}
    with pytest.raises(InputError, match="it has 'schema'"):
        format_parameters(schema, endpoint=CHAT)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({}, "schema is no class with fields"),
        ({"type": "array"}, "schema is no class with fields"),
        ({"type": "json_schema", "json_schema": 5}, "schema is no class with fields"),
        ({"type": "object"}, "strict mode cannot express schema: it is a mapping of free keys"),
        ({"title": "T", "type": "object", "properties": 5}, "T is no JSON schema: 'int' object has no"),
        ({"type": "object", "$defs": 5}, "schema is no JSON schema"),
        ({"type": "object", "properties": {"a": True}}, "schema is no JSON schema"),
        ({"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}}, "schema.a: it is a least length"),
    ],
)
def test_a_schema_that_is_none_is_refused(schema: dict[str, Any], message: str) -> None:
    """Here, rather than by the service, for each request of a batch."""
    with pytest.raises(InputError, match=message):
        json_schema_format(schema)
    with pytest.raises(InputError, match=message):
        format_parameters(schema, endpoint=CHAT)


def test_endpoints_without_structured_output_are_refused() -> None:
    """Only two endpoints have it."""
    message = "structured outputs are for /v1/chat/completions and /v1/responses"
    for endpoint in ("/v1/embeddings", "chat/completions", "", None):
        with pytest.raises(InputError, match=message):
            json_schema_format(Place, endpoint=endpoint)  # type: ignore[arg-type]
    for schema in (SCHEMA, {"schema": SCHEMA}, Place):
        with pytest.raises(InputError, match=message):
            format_parameters(schema, endpoint="/v1/embeddings")
