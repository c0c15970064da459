"""What is wrong with a file of settings, in words for whoever wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

_MOST_FAULTS, _LONGEST = 8, 60
_KINDS = {
    "a mapping": ("model_type", "model_attributes_type", "dict_type", "dataclass_type"),
    "a list": ("tuple_type", "list_type"),
    "a text": ("string_type",),
    "true or false": ("bool_type", "bool_parsing"),
    "a whole number": ("int_type", "int_parsing", "int_from_float"),
    "a number": ("float_type", "float_parsing"),
}
_EXPECTED = {kind: words for words, kinds in _KINDS.items() for kind in kinds}
_NUMBER = re.compile(r"[-+]?[\d.]+e[-+]?\d+", re.IGNORECASE)
_Place = tuple[Any, ...]
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class _Fault:
    """One error, at its place in the file."""

    place: _Place
    branches: Mapping[_Place, str]
    """Where a value may be of several kinds: for which of them this was found."""
    kind: str
    """As pydantic calls it."""
    told: str
    came: str

    @property
    def of_another_kind(self) -> bool:
        """The value cannot be meant to be what this branch takes."""
        return self.kind in _EXPECTED or self.kind == "literal_error"


def checked(model: type[_Model], content: Any) -> _Model:
    """``model.model_validate``, whose errors are for its developer, and which takes yes for 1.

    Raises:
        ValueError: one line, with the field of each fault, what was expected and what came. A value that may be of
            several kinds is judged by the one that it is nearest to.
    """
    try:
        found = model.model_validate(content)
    except ValidationError as error:
        raise ValueError(_explained(error, model)) from error
    if taken := [*_taken_for_numbers(content, found)]:
        raise ValueError("; ".join(f"{where}: expected a number, got {value}" for where, value in taken[:_MOST_FAULTS]))
    return found


def _taken_for_numbers(content: Any, found: Any, place: _Place = ()) -> Iterator[tuple[str, bool]]:
    """Where true or false stands and a number was made of it."""
    if isinstance(content, bool):
        if isinstance(found, int | float) and not isinstance(found, bool):
            yield ".".join(map(_step, place)), content
        return
    parts: Iterable[tuple[Any, Any]] = ()
    if isinstance(content, dict):
        parts = content.items()
        found = {name: getattr(found, name) for name in type(found).model_fields} if _is_model(type(found)) else found
    elif isinstance(content, list | tuple):
        parts = enumerate(content)
        found = dict(enumerate(found)) if isinstance(found, list | tuple) else found
    for key, value in parts:
        if isinstance(value, bool | dict | list | tuple) and isinstance(found, dict):
            yield from _taken_for_numbers(value, found.get(key), (*place, key))


def _explained(error: ValidationError, model: type[BaseModel]) -> str:
    faults = _nearest([_fault(each, model) for each in error.errors(include_url=False)])
    lines: dict[tuple[_Place, str], list[str]] = {}
    for fault in faults:
        lines.setdefault((fault.place, fault.came), []).append(fault.told)
    told = []
    for (place, came), texts in lines.items():
        where = ".".join(map(_step, place)) or ("the file" if came else "")  # what parts say of each other has no place
        told.append(" ".join(f"{where}{': ' if where else ''}{' or '.join(dict.fromkeys(texts))}{came}".split()))
    more = [f"and {len(told) - _MOST_FAULTS} more"] if len(told) > _MOST_FAULTS else []
    return "; ".join([*told[:_MOST_FAULTS], *more]).replace(" or expected ", " or ")


def _fault(error: Any, model: type[BaseModel]) -> _Fault:
    place, branches, end = _located(error["loc"], model)
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    came = f", got {_short(value)}"
    if kind == "missing":
        told, came = "it is missing", ""
    elif kind == "extra_forbidden":
        told, came = _unknown_key(str(place[-1]), [*end.model_fields]), ""
    elif kind == "value_error":
        told, came = error["msg"].removeprefix("Value error, "), ""
    elif kind.startswith("union_tag"):
        name = context["discriminator"].strip("'")
        place = (*place, name)
        known = [tag for member in _members(end) for tag in _tags(member, name)]
        told = (
            f"expected one of {', '.join(known)}" if "tag" in context else f"it is missing: one of {', '.join(known)}"
        )
        came = f", got {_short(context['tag'])}" if "tag" in context else ""
    elif kind == "too_short":
        told, came = f"expected at least {context['min_length']} entries", f", got {context['actual_length']}"
    elif kind == "too_long":
        told = f"expected at most {context['max_length']} entries"
    elif kind in _EXPECTED:
        told = f"expected {_EXPECTED[kind]}"
        if kind == "string_type" and isinstance(value, bool | int | float | None):
            told = f"{told} in quotes"  # YAML has yes, 3 and null for something else
        if "number" in told and isinstance(value, str) and _NUMBER.fullmatch(value):
            came = f", got the text '{value}': YAML wants a dot and the exponent's sign, as in 5.0e-2 or 1.8e+9"
    else:
        told = _in_our_words(error["msg"])
    return _Fault(place, branches, kind, told, came)


def _in_our_words(message: str) -> str:
    for start, words in (
        ("Input should be greater", "expected a number greater"),
        ("Input should be less", "expected a number less"),
        ("Input should be ", "expected "),
        ("String should match", "expected a text to match"),
        ("String should have", "expected a text to have"),
    ):
        if message.startswith(start):
            return words + message.removeprefix(start)
    return message


def _unknown_key(key: str, known: Sequence[str]) -> str:
    near = get_close_matches(key, known, 1)
    return f"unknown key{f' (for {near[0]}?)' if near else ''}, expected one of: {', '.join(known)}"


def _short(value: Any) -> str:
    if isinstance(value, BaseModel):
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _step(step: Any) -> str:
    """A key or the number of an entry, as far as it fits into a line."""
    return str(step)[:_LONGEST] or "''"


def _located(steps: Sequence[Any], model: type[BaseModel]) -> tuple[_Place, dict[_Place, str], Any]:
    """The place as the file's writer knows it, which branches of unions led there, and what may stand there.

    Of an unknown key the last is the model that does not have it.
    """
    place: _Place = ()
    branches: dict[_Place, str] = {}
    kind: Any = model
    for step in steps:
        members = [*_members(kind)]
        if len(members) > 1:
            branches[place] = str(step)
            kind = next((member for member in members if _is_called(member, str(step))), Any)
            continue
        place = (*place, step)
        (found,) = members or [Any]
        if not _is_model(found):
            kind = _entry(found, step)
        else:
            kind = found.model_fields[step].annotation if step in found.model_fields else found
    return place, branches, kind


def _members(kind: Any) -> Iterator[Any]:
    """What a value may be, None aside."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        for member in get_args(kind):
            yield from _members(member)
    elif kind is not NoneType:
        yield kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_called(member: Any, step: str) -> bool:
    """Whether pydantic has this member of a union by that name in the places of errors."""
    if not _is_model(member):
        return step.startswith(f"{getattr(get_origin(member) or member, '__name__', '')}[")
    if step.startswith("function-"):
        return step.rstrip("]").endswith(f" {member.__name__}")
    return step == member.__name__ or any(step in _tags(member, name) for name in member.model_fields)


def _tags(member: Any, name: str) -> tuple[str, ...]:
    """The values that a field of a model may have, where they are listed."""
    kind = member.model_fields[name].annotation
    return get_args(kind) if get_origin(kind) is Literal else ()


def _entry(kind: Any, step: Any) -> Any:
    """What an entry of a list, tuple or mapping may be."""
    of = get_args(kind)
    if get_origin(kind) is dict:
        return of[1]
    if get_origin(kind) is tuple and of[-1] is not Ellipsis:
        return of[step] if isinstance(step, int) and step < len(of) else Any
    return of[0] if of else Any


def _nearest(faults: Sequence[_Fault]) -> list[_Fault]:
    """Without those that only say that a value is not of a kind that it is not meant to be."""
    chosen = [*faults]
    for place in sorted({place for fault in faults for place in fault.branches}, key=len):
        by_branch: dict[str, list[_Fault]] = {}
        for fault in chosen:
            if place in fault.branches:
                by_branch.setdefault(fault.branches[place], []).append(fault)
        meant = {
            branch: found
            for branch, found in by_branch.items()
            if not any(fault.of_another_kind and fault.place == place for fault in found)
        }
        if meant:
            nearest = min(meant, key=lambda branch: len(meant[branch]))
            chosen = [fault for fault in chosen if fault.branches.get(place, nearest) == nearest]
    # A list of which entries were refused has less entries than it should have.
    within = {fault.place[:length] for fault in chosen for length in range(len(fault.place))}
    return [fault for fault in chosen if fault.kind != "too_short" or fault.place not in within]
