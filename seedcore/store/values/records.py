"""Takes values of the user's classes apart, and puts them together as they were: no constructor, validator or method
of theirs runs, since what converts its arguments would convert them once more.
"""

import dataclasses
from collections.abc import Callable
from enum import Enum, Flag
from functools import cached_property, lru_cache
from types import MemberDescriptorType
from typing import Any, Final, NamedTuple

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from seedcore.errors import InvalidValueError
from seedcore.store.values import classes

Fields = dict[str, Any]


Data = list[Any]
CLASSES: Final = 1024  # of which is remembered what they are like
ARGUMENTS: Final = "__orig_class__"  # typing's note of what a generic class was called with


class Kind(NamedTuple):
    """A kind of class whose values are kept by the name of their class.

    Args:
        word: what one is.
        includes: whether a class is one.
        take_apart: what a value consists of, as data; mostly its fields by name, and the rest of its state.
        put_together: a value of a class, from that.
    """

    word: str
    includes: Callable[[type], bool]
    take_apart: Callable[[Any], Data]
    put_together: Callable[..., Any]


# Dataclasses


def _of_dataclass(value: Any) -> Data:
    cls: Any = type(value)
    _require_only_attributes(cls)
    attributes = _state(value)
    fields = {}
    for field in dataclasses.fields(cls):
        if field.name in attributes:
            fields[field.name] = attributes.pop(field.name)
        elif not _is_computed(cls, field.name):
            try:
                fields[field.name] = getattr(value, field.name)
            except AttributeError:
                raise InvalidValueError(f"cannot keep a {cls.__qualname__}: its {field.name} is not set") from None
    return [fields, _lasting(cls, attributes)]


def _to_dataclass(cls: Any, fields: Fields, rest: Fields) -> Any:
    attributes = {}
    for field in dataclasses.fields(cls):
        if field.name in fields:
            attributes[field.name] = fields[field.name]
        elif _is_computed(cls, field.name):
            continue
        elif field.default is not dataclasses.MISSING:
            attributes[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            attributes[field.name] = field.default_factory()
        else:
            raise _lacks(cls, field.name)
    value = object.__new__(cls)
    _set_attributes(value, {**attributes, **rest})
    return value


@lru_cache(maxsize=CLASSES)
def _require_only_attributes(cls: type) -> None:
    """Refuse a kind of list, exception or the like, which has more to it."""
    try:
        object.__new__(cls)
    except TypeError as error:
        raise InvalidValueError(f"cannot keep a {cls.__qualname__}: it is a kind of a built-in type: {error}") from None


def _is_computed(cls: type, name: str) -> bool:
    """Whether a descriptor of the class converts what is set, and keeps it under another name."""
    return name not in _slots(cls) and hasattr(_of_class(cls, name), "__set__")


def _of_class(cls: type, name: str) -> Any:
    """An attribute of the class as it stands there; None if there is none."""
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


@lru_cache(maxsize=CLASSES)
def _slots(cls: type) -> frozenset[str]:
    return frozenset(
        name for base in cls.__mro__ for name, one in vars(base).items() if isinstance(one, MemberDescriptorType)
    )


def _state(value: Any) -> Fields:
    """What stands in the value itself."""
    state: Any = object.__getstate__(value)
    own, slots = state if isinstance(state, tuple) else (state, None)
    return {**(own or {}), **(slots or {})}


def _lasting(cls: type, attributes: Fields) -> Fields:
    """Without what the class computes again."""
    return {
        name: attribute
        for name, attribute in attributes.items()
        if name != ARGUMENTS and not isinstance(_of_class(cls, name), cached_property)
    }


def _set_attributes(value: Any, attributes: Fields) -> None:
    cls: Any = type(value)
    slots = _slots(cls)
    own = getattr(value, "__dict__", None)
    for name, attribute in attributes.items():
        if name in slots:
            object.__setattr__(value, name, attribute)
        elif own is not None:
            own[name] = attribute


def _lacks(cls: type, name: str) -> InvalidValueError:
    return InvalidValueError(
        f"the stored value is a {cls.__qualname__} from before it had {name}; give {name} a default in the class"
    )


# Named tuples


def _of_named_tuple(value: Any) -> Data:
    cls = type(value)
    if len(value) != len(cls._fields):
        raise InvalidValueError(f"cannot keep a {cls.__qualname__}: it has other elements than its fields")
    return [dict(zip(cls._fields, tuple(value), strict=True)), _lasting(cls, _state(value))]


def _to_named_tuple(cls: Any, fields: Fields, rest: Fields) -> Any:
    known = {**cls._field_defaults, **fields}
    for name in cls._fields:
        if name not in known:
            raise _lacks(cls, name)
    value = tuple.__new__(cls, [known[name] for name in cls._fields])
    _set_attributes(value, rest)
    return value


# Pydantic's models

EXTRA: Final = "extra"
PRIVATE: Final = "private"
ARE_SET: Final = "set"  # the fields that somebody has set


def _of_model(value: BaseModel) -> Data:
    cls = type(value)
    if cls.__pydantic_generic_metadata__["origin"] is not None:
        raise InvalidValueError(
            f"cannot keep a {cls.__qualname__}: give the generic model with these arguments a name of its own, "
            f"class Name({cls.__qualname__}): ..."
        )
    state = BaseModel.__getstate__(value)
    rest = {EXTRA: value.__pydantic_extra__, PRIVATE: state["__pydantic_private__"], ARE_SET: value.model_fields_set}
    return [_lasting(cls, state["__dict__"]), rest]


def _to_model(cls: Any, fields: Fields, rest: Fields) -> Any:
    values: Fields = {}
    for name, field in cls.model_fields.items():
        if name in fields:
            values[name] = fields[name]
        elif field.is_required():
            raise _lacks(cls, name)
        else:
            values[name] = field.get_default(call_default_factory=True, validated_data=values)
    value = cls.__new__(cls)
    state = {
        "__dict__": values,
        "__pydantic_extra__": rest[EXTRA] if cls.model_config.get("extra") == "allow" else None,
        "__pydantic_fields_set__": rest[ARE_SET],
        "__pydantic_private__": _private(cls, rest[PRIVATE] or {}) if cls.__private_attributes__ else None,
    }
    BaseModel.__setstate__(value, state)
    return value


def _private(cls: Any, kept: Fields) -> Fields:
    defaults = {name: one.get_default() for name, one in cls.__private_attributes__.items() if name not in kept}
    known = {name: kept[name] for name in cls.__private_attributes__ if name in kept}
    return {**known, **{name: one for name, one in defaults.items() if one is not PydanticUndefined}}


# Enums


def _of_enum(value: Enum) -> Data:
    # By the name, as Python's own pickle does: what a member stands for may change. Several flags have no name.
    if isinstance(value, Flag):
        return [value.value]
    cls = type(value)
    if cls.__members__.get(value.name) is not value:
        raise InvalidValueError(f"cannot keep {value!r}: it is none of the members of {cls.__qualname__}")
    return [value.name]


def _to_enum(cls: Any, member: Any) -> Any:
    return cls(member) if issubclass(cls, Flag) else cls[member]


def _to_old_dataclass(cls: Any, fields: Fields) -> Any:
    """Of the fields alone, as it was stored until 0.2: what else it has, its constructor makes."""
    init = {field.name: fields[field.name] for field in dataclasses.fields(cls) if field.init and field.name in fields}
    value = cls(**init)
    _set_attributes(
        value, {field.name: fields[field.name] for field in dataclasses.fields(cls) if field.name in fields}
    )
    return value


# The first that includes a class is taken.
ENUM: Final = Kind("an enum", lambda cls: issubclass(cls, Enum), _of_enum, _to_enum)
MODEL: Final = Kind("a model", lambda cls: issubclass(cls, BaseModel), _of_model, _to_model)
DATACLASS: Final = Kind("a dataclass", dataclasses.is_dataclass, _of_dataclass, _to_dataclass)
NAMED_TUPLE: Final = Kind(
    "a named tuple",
    lambda cls: issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple),
    _of_named_tuple,
    _to_named_tuple,
)
OLD_DATACLASS: Final = DATACLASS._replace(put_together=_to_old_dataclass)


def pack(kind: Kind, value: Any) -> Data:
    """The module and the name of a value's class, and what the value consists of.

    Raises:
        InvalidValueError: it could not be put together again in another process.
    """
    return [*classes.name_of(type(value), kind.word), *kind.take_apart(value)]


def unpack(kind: Kind, data: Data) -> Any:
    """The value that was packed.

    Raises:
        InvalidValueError: this process cannot import its class, or the class is another one now.
    """
    module, name, *parts = data
    cls = classes.find(module, name)
    if not (isinstance(cls, type) and kind.includes(cls)):
        raise InvalidValueError(
            f"the stored value is {kind.word} {module}.{name}, which this process cannot import; put its module on the "
            "PYTHONPATH, or its new name into MOVED in app/moved.py"
        )
    return kind.put_together(cls, *parts)
