"""The standard fields of Lead, Contact and Account, from which of an event's each is. Pure.

Owns the tables of default fields, which `settings.mapping` changes; how the older settings of paths
become part of them; and what a record's field can hold. Must not know requests.
https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_lead.htm
https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_contact.htm
https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_account.htm
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from destinations.kit import Event, FieldMapper, FieldMapping, MappingTable, mapping_errors
from destinations.kit.mapping import CustomEvents, Expression, text_of

_encode = msgspec.json.Encoder().encode


def _address(prefix: str) -> dict[str, str]:
    return {
        f"{prefix}Street": "@street",
        f"{prefix}City": "@city",
        f"{prefix}State": "@state",
        f"{prefix}PostalCode": "@postal_code",
        f"{prefix}Country": "@country",
    }


#: The last name is required of either object: a name of one word is one.
_PERSON = {
    "FirstName": "if @last_name exists then @first_name else traits.first_name",
    "LastName": "@last_name ?? (if not traits.first_name exists then @name)",
    "Email": "@email",
    "Phone": "@phone",
    "MobilePhone": "traits.mobile_phone ?? traits.mobile",
    "Fax": "traits.fax",
    "Title": "traits.title ?? traits.position ?? traits.job_title",
    "Description": "traits.description ?? traits.background",
    "LeadSource": "traits.lead_source",
}
_COMPANY = {
    "Website": "@website",
    "Industry": "traits.industry ?? traits.company.industry",
    "NumberOfEmployees": (
        "integer(traits.employees ?? traits.company.employees ?? traits.company.employee_count)"
    ),
    "Rating": "traits.rating",
}
LEAD: Mapping[str, str] = {**_PERSON, "Company": "@company_name", **_COMPANY, **_address("")}
CONTACT: Mapping[str, str] = {
    **_PERSON,
    "Department": "traits.department",
    "Birthdate": "date(@birthday)",
    **_address("Mailing"),
}
ACCOUNT: Mapping[str, str] = {
    "Name": "@name",
    "AccountNumber": "traits.account_number",
    "Phone": "@phone",
    "Fax": "traits.fax",
    "Description": "traits.description ?? traits.background",
    **_COMPANY,
    **_address("Billing"),
}
#: What an identify becomes by default, by the object; another one has what settings map.
OF_PEOPLE: Mapping[str, Mapping[str, str]] = {"Lead": LEAD, "Contact": CONTACT}
DEFAULTS = MappingTable(identify=LEAD, group=ACCOUNT)
CONTACTS = MappingTable(identify=CONTACT)

#: Default fields that hold numbers; all others hold text, and Salesforce takes no number for it.
_NUMBERS = frozenset({"NumberOfEmployees"})


class Fields:
    """The fields of one object for events of one type: defaults, and what settings make of them.

    `paths` are the older settings, from a path below `root` to a field; what an
    event does not have there leaves the default as it is.
    """

    def __init__(
        self,
        event_type: str,
        defaults: Mapping[str, str],
        mapping: FieldMapping,
        paths: Mapping[str, str] | None = None,
        root: str = "",
        custom_events: CustomEvents = "all",
    ) -> None:
        own: dict[str, Expression | dict[str, Expression]] = {}
        for path, field in (paths or {}).items():
            # Of two paths for one field the last that has a value counts.
            after = own.get(field) or defaults.get(field)
            own[field] = _expression(path, root) + (f" ?? ({after})" if after else "")
        own |= {key: below for key, below in mapping.items() if not isinstance(below, dict)}
        of_type = mapping.get(event_type)
        own |= of_type if isinstance(of_type, dict) else {}
        self._own = frozenset(own)
        table = MappingTable(**{event_type: defaults})
        self._mapper: FieldMapper = table.mapper(own, custom_events)

    def of(self, event: Event) -> dict[str, Any]:  # Any: JSON
        """The fields of an event that have a value; a name with a dot is a field of a parent."""
        record: dict[str, Any] = {}
        for name, found in self._mapper.fields(event).items():
            value = _held(found) if name in self._own else _standard(name, found)
            if value is None:
                continue
            parent, dot, field = name.partition(".")
            if not dot:
                record[name] = value
            elif isinstance(below := record.get(parent), dict):
                below[field] = value
            else:
                record[parent] = {field: value}
        return record


def _held(value: Any) -> Any:  # Any: JSON
    # A field holds no objects and lists: their JSON text is the most that it can have.
    return _encode(value).decode() if isinstance(value, (dict, list)) else value


def _standard(name: str, value: Any) -> Any:  # Any: JSON
    """What a standard field can hold of a trait; anything else leaves it as it is."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if name in _NUMBERS else text_of(value)


def _expression(path: str, root: str) -> str:
    """The expression that finds what a path of the older settings does."""
    if path == "timestamp" and not root:
        return "iso(@timestamp)"
    head, dot, rest = path.partition(".") if not root else (root, ".", path)
    quoted = (f"'{part}'" if '"' in part else f'"{part}"' for part in rest.split("."))
    return f"{head}.{'.'.join(quoted)}" if dot else head


def path_errors(key: str, paths: Mapping[str, str], root: str = "") -> list[str]:
    """What is wrong with paths of the older settings, each opening with its key path."""
    return [
        f"{key}.{path}: is no path in an event"
        for path in paths
        if mapping_errors({"field": _expression(path, root)})
    ]
