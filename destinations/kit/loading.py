"""From a name in the config to a destination's class, its declaration and settings' errors.

Owns how destinations are found and what makes a declaration valid. Runs in
workers only: it imports destinations' code, which may do anything.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping
from typing import Any, get_args, get_origin

import msgspec

import destinations
from destinations.kit.contract import EVENT_TYPES, Destination
from destinations.kit.requests import describe

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_HOST = re.compile(
    r"\{[A-Za-z_][A-Za-z0-9_]*\}|(\*\.)?[A-Za-z0-9_.-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?"
)
#: What msgspec puts at the end of its messages: where the value stands.
_AT = re.compile(r" - at `(key in )?\$?(?P<path>[^`]*)`$")


class LoadError(Exception):
    """A destination could not be loaded; the text says why, and what to do."""


class ClassDeclaration:
    """What a class declares, to be read by name: its attributes, and its settings' JSON Schema."""

    def __init__(self, cls: type[Destination], settings_schema: dict[str, Any]) -> None:
        """Any: JSON Schema."""
        self._cls = cls
        self.settings_schema = settings_schema

    def __getattr__(self, name: str) -> Any:
        """Any: which fields there are, and of which type, stands in `contract.Destination`."""
        return getattr(self._cls, name)


def load(name: str, class_path: str | None) -> type[Destination]:
    """The class of a destination: `module:Class`, or for None the built-in one of that name.

    Raises LoadError where it cannot be imported, is no Destination, or
    declares itself wrongly.
    """
    if class_path is None:
        found = _built_in(name)
    else:
        module_name, colon, class_name = class_path.partition(":")
        if not (module_name and colon and class_name):
            raise LoadError(f'class "{class_path}" is not of the form "module:Class"')
        module = _import(
            module_name, f"there is no module {module_name} on plugin_paths, and no package has it"
        )
        found = getattr(module, class_name, None)
        if found is None:
            raise LoadError(f"module {module_name} has no class {class_name}")
    if not (isinstance(found, type) and issubclass(found, Destination)):
        raise LoadError(f"{class_path or name} is not a subclass of destinations.kit.Destination")
    if errors := _declaration_errors(found):
        raise LoadError(f"class {found.__name__}: {'; '.join(errors)}")
    return found


def declaration(cls: type[Destination]) -> ClassDeclaration:
    """What a loaded class declares. Raises LoadError where its settings have no schema."""
    try:
        schema = msgspec.json.schema(cls.Settings)
    except Exception as error:
        raise LoadError(
            f"class {cls.__name__}: Settings cannot be described: {describe(error)}"
        ) from error
    return ClassDeclaration(cls, schema)


def settings_errors(cls: type[Destination], settings: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with a connection's settings, each opening with the key path.

    Any: not validated yet. Where each field is right by itself, the struct's
    `__post_init__` has its say: it raises ValueError, one error a line.
    """
    return _struct_errors(cls.Settings, settings, "")


def _built_in(name: str) -> object:
    folder = name.replace("-", "_")
    known = [
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(destinations.__path__)
        if module.ispkg and module.name != "kit"
    ]
    if name not in known:
        raise LoadError(
            f"there is no built-in destination {name} ({', '.join(sorted(known))} are); "
            f'for one of your own add [destinations.{name}] with class = "module:Class"'
        )
    module = _import(f"destinations.{folder}", f"destinations/{folder} is gone")
    found = getattr(module, "DESTINATION", None)
    if found is None:
        raise LoadError(f"destinations/{folder}/__init__.py does not say DESTINATION = its class")
    return found


def _import(module: str, missing: str) -> object:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            raise LoadError(missing) from error
        raise LoadError(f"importing {module}: {describe(error)}") from error
    except BaseException as error:  # an import may raise anything, SystemExit included
        raise LoadError(f"importing {module} raised {describe(error)}") from error


def _declaration_errors(cls: type[Destination]) -> list[str]:
    errors: list[str] = []
    # object: what an author has written there is not known yet
    name: object = getattr(cls, "name", None)
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        errors.append(f"name = {name!r}: lower-case letters, digits and dashes are needed")
    errors += _texts_errors("aliases", cls.aliases)
    if not errors and not _is_texts(cls.types):
        errors.append('types: a set of event types is needed, like frozenset({"track"})')
    elif _is_texts(cls.types) and (unknown := sorted(set(cls.types) - EVENT_TYPES)):
        errors.append(f"types: {', '.join(unknown)} unknown; of {', '.join(sorted(EVENT_TYPES))}")
    elif not cls.types:
        errors.append("types: at least one is needed")
    hosts = _texts_errors("hosts", cls.hosts)
    errors += hosts or [
        f'hosts: "{host}" is no host, host:port or "{{setting}}"'
        for host in cls.hosts
        if not _HOST.fullmatch(host)
    ]
    for key in ("batch_events", "batch_bytes"):
        value: object = getattr(cls, key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            errors.append(f"{key} = {value!r}: a whole number from 1 is needed")
    answers: object = cls.dry_answers
    if not (
        isinstance(answers, Mapping)
        and _is_texts(list(answers))
        and _is_texts(list(answers.values()))
    ):
        errors.append('dry_answers: texts by text are needed, like {"POST /v1/in": "{}"}')
    settings: object = cls.Settings
    if not (isinstance(settings, type) and issubclass(settings, msgspec.Struct)):
        errors.append("Settings: a subclass of msgspec.Struct is needed")
    if left := sorted(getattr(cls, "__abstractmethods__", ())):
        errors.append(f"does not define {', '.join(left)}")
    return errors


def _is_texts(value: object) -> bool:
    return isinstance(value, (tuple, list, set, frozenset)) and all(
        isinstance(item, str) for item in value
    )


def _texts_errors(key: str, value: object) -> list[str]:
    if isinstance(value, (tuple, list)) and _is_texts(value):
        return []
    return [f'{key}: a tuple of strings is needed, like ("one",)']


def _struct_errors(struct: type[msgspec.Struct], values: object, at: str) -> list[str]:
    """Field by field, since msgspec stops at the first error."""
    if not isinstance(values, Mapping):
        return [f"{at or 'settings'}: a table is needed, not {type(values).__name__}"]
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    errors = []
    for key, field in fields.items():
        path = f"{at}.{key}" if at else key
        if key in values:
            errors += _value_errors(field.type, values[key], path)
        elif field.required:
            errors.append(f"{path}: is required")
    for key in values:
        if key not in fields and struct.__struct_config__.forbid_unknown_fields:
            path = f"{at}.{key}" if at else str(key)
            errors.append(f"{path}: unknown; known are {', '.join(fields) or 'no settings'}")
    if errors:
        return errors
    return _convert_errors(struct, values, at)


def _value_errors(kind: Any, value: object, at: str) -> list[str]:  # Any: a type form
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct_errors(kind, value, at)
    if get_origin(kind) in (dict, Mapping) and isinstance(value, Mapping):
        of = get_args(kind)[1]
        return [
            error
            for key, below in value.items()
            for error in _value_errors(of, below, f"{at}.{key}")
        ] or _convert_errors(kind, value, at)
    return _convert_errors(kind, value, at)


def _convert_errors(kind: Any, value: object, at: str) -> list[str]:  # Any: a type form
    try:
        msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        text = str(error)
        below = ""
        if found := _AT.search(text):
            text, below = text[: found.start()], found["path"].removeprefix(".")
        if isinstance(error.__cause__, (ValueError, TypeError)):
            # From `__post_init__`, whose lines say themselves which key they speak of.
            prefix = f"{at}." if at else ""
            return [f"{prefix}{line}" for line in str(error.__cause__).splitlines()]
        path = f"{at}{below}" if below.startswith("[") else ".".join(filter(None, (at, below)))
        return [f"{path or 'settings'}: {text[:1].lower()}{text[1:]}"]
    except Exception as error:  # noqa: BLE001 - a `__post_init__` may raise anything
        return [f"{at or 'settings'}: checking raised {describe(error)}"]
    return []
