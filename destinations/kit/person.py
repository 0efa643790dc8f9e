"""Who an event is about: the accessors for a person, or for a group, in its traits.

Owns the spellings and fall-backs, which follow Segment's facade:
https://github.com/segmentio/facade/blob/master/lib/identify.js, `group.js` and `address.js`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from destinations.kit.addresses import email_in
from destinations.kit.companies import Company, companies_of
from destinations.kit.lookup import Lookup, plain_text
from destinations.kit.numbers import amount
from destinations.kit.paths import find, plain_keys
from destinations.kit.times import to_datetime

#: Oldest age that is believed, in years.
_MAX_AGE = 150


class Person(Lookup):
    """Accessors for people and groups."""

    __slots__ = ()

    # --- ids ---

    @property
    def user_id(self) -> str | None:
        """The user's id; numbers become text."""
        return self._id("userId")

    @property
    def anonymous_id(self) -> str | None:
        """The anonymous id, or what old SDKs call the session's."""
        return self._id("anonymousId", "sessionId")

    @property
    def group_id(self) -> str | None:
        """The group that the event is about, or that its user acts for."""
        return self._id("groupId", "context.groupId")

    @property
    def previous_id(self) -> str | None:
        """Of an alias: the id that is merged into `user_id`."""
        return self._id("previousId")

    @property
    def uid(self) -> str | None:
        """What tells the user from others best: user id, else user name, else e-mail address."""
        return self.user_id or self._trait_text("username") or self.email

    # --- names ---

    @property
    def name(self) -> str | None:
        """Of a page or screen its name; else the user's or group's, or first and last together.

        One of the two alone is a name as well.
        """
        if self.type in ("page", "screen"):
            return self._property_text("name")
        name = self._name_text("name")
        if name is not None:
            return name
        first, last = self._name_text("firstName"), self._name_text("lastName")
        return f"{first} {last}" if first and last else first or last

    @property
    def first_name(self) -> str | None:
        """The user's first name, or the first word of the name."""
        first = self._name_text("firstName")
        if first is not None:
            return first
        name = self._name_text("name")
        return name.split(None, 1)[0] if name else None

    @property
    def last_name(self) -> str | None:
        """The user's last name, or what follows the first word of the name."""
        last = self._name_text("lastName")
        if last is not None:
            return last
        name = self._name_text("name")
        words = name.split(None, 1) if name else []
        return words[1] if len(words) == 2 else None

    @property
    def username(self) -> str | None:
        """The user's own name for himself; of a track the ids, where there is none."""
        name = self._trait_text("username")
        if name is None and self.type == "track":
            return self._property_text("username") or self.user_id or self.anonymous_id
        return name

    def _name_text(self, key: str) -> str | None:
        value = self.trait(key)
        return (value.strip() or None) if isinstance(value, str) else None

    # --- how to reach them ---

    @property
    def email(self) -> str | None:
        """The user's e-mail address; the user id, where it is one.

        Of a group its own: that of its traits, or the group id where it is one.
        """
        email = self._name_text("email")
        if email is not None:
            return email
        if self.type == "group":
            return email_in(self.group_id)
        return self._property_text("email") or email_in(self.user_id)

    @property
    def user_email(self) -> str | None:
        """The address of the user, whatever the event is about: never a group's or a property.

        For who wants to know whose event it is: a property may be a friend's address.
        """
        users = self.user_traits if self.type == "group" else None
        value = self.trait("email") if users is None else find(users, "email")
        email = value.strip() if isinstance(value, str) else None
        return email or email_in(self.user_id)

    @property
    def phone(self) -> str | None:
        """The phone number as sent; the first one, where there are several."""
        return self._one("phone") or self._property_text("phone")

    @property
    def phones(self) -> list[str]:
        """All phone numbers."""
        return self._many("phone")

    @property
    def website(self) -> str | None:
        """The website; the first one, where there are several."""
        return self._one("website")

    @property
    def websites(self) -> list[str]:
        """All websites."""
        return self._many("website")

    def _one(self, key: str) -> str | None:
        one = self._trait_text(key)
        return one if one is not None else next(iter(self._texts(key + "s")), None)

    def _many(self, key: str) -> list[str]:
        several = self._texts(key + "s")
        one = None if several else self._trait_text(key)
        return several or ([one] if one is not None else [])

    def _texts(self, key: str) -> list[str]:
        values = self.trait(key)
        texts = map(plain_text, values) if isinstance(values, list) else ()
        return [text.strip() for text in texts if text and text.strip()]

    # --- what is known of them ---

    @property
    def created(self) -> datetime | None:
        """When the user or group came into being, by the sender's records."""
        return self._trait_time("created", "createdAt")

    @property
    def birthday(self) -> datetime | None:
        """The day of birth; its date counts, in the zone that it was sent in."""
        return self._trait_time("birthday")

    @property
    def age(self) -> int | None:
        """Years of age: as sent, else whole years from the birthday to the event."""
        given = amount(self.trait("age"))
        if given is not None:
            return int(given) if 0 <= given <= _MAX_AGE else None
        born, at = self.birthday, to_datetime(self._decoded().get("timestamp"))
        if born is None or at is None:
            return None
        years = at.year - born.year - ((at.month, at.day) < (born.month, born.day))
        return years if 0 <= years <= _MAX_AGE else None

    @property
    def gender(self) -> str | None:
        """The gender as sent."""
        return self._trait_text("gender")

    @property
    def avatar(self) -> str | None:
        """The URL of a picture."""
        return self._trait_text("avatar", "photoUrl", "avatarUrl")

    @property
    def position(self) -> str | None:
        """The user's position in a company; `title` is what Segment's spec calls it."""
        return self._trait_text("position", "jobTitle", "title")

    @property
    def description(self) -> str | None:
        """A description of the user or group; of a track that of its properties comes first."""
        own = self._property_text("description") if self.type == "track" else None
        return own or self._trait_text("description", "background")

    def _trait_time(self, *keys: str) -> datetime | None:
        for key in keys:
            at = to_datetime(self.trait(key))
            if at is not None:
                return at
        return None

    # --- their company, or the group itself ---

    @property
    def company(self) -> Mapping[str, Any]:  # Any: decoded JSON
        """The user's company, as an object; that of a group is the group's own traits."""
        if self.type == "group":
            return self.traits
        value = self.trait("company")
        return value if isinstance(value, dict) else {}

    @property
    def company_name(self) -> str | None:
        """The company's name, where the trait `company` is an object with one, or the name."""
        name = plain_text(find(self.company, "name"))
        if name is None and self.type != "group":
            name = plain_text(self.trait("company"))
        return (name.strip() or None) if name else None

    @property
    def companies(self) -> list[Company]:
        """The user's companies, by the traits `company` and `companies`; none of a group."""
        if self.type == "group":
            return []
        return companies_of(self.trait("company"), self.trait("companies"))

    @property
    def company_created(self) -> datetime | None:
        """When the company came into being."""
        company = self.company
        return to_datetime(find(company, "created")) or to_datetime(find(company, "createdAt"))

    @property
    def industry(self) -> str | None:
        """The industry of the group, or of the user's company."""
        text = plain_text(find(self.company, "industry"))
        return text.strip() or None if text else self._trait_text("industry")

    @property
    def employees(self) -> int | None:
        """How many people the group, or the user's company, employs."""
        for given in (
            find(self.company, "employees"),
            find(self.company, "employeeCount"),
            self.trait("employees"),
        ):
            number = amount(given)
            if number is not None and 0 <= number < 1e12:
                return int(number)
        return None

    @property
    def plan(self) -> str | None:
        """The plan that the user, group or company is on; of a track that of its properties."""
        own = self._property_text("plan") if self.type == "track" else None
        return own or self._trait_text("plan")

    # --- address ---
    # | part | names, in the object `address` first, then beside it; traits before properties |
    # | --- | --- |
    # | street | street, street_address, line1, address1; else `address` itself, where it is text |
    # | city | city, town, locality |
    # | state, region | state, region, province; region, state, province |
    # | postal_code | postal_code, zip, zip_code, postcode |
    # | country | country, country_code |
    # | country_code | country_code, country; what has two letters |

    @property
    def address(self) -> str | None:
        """The whole address on one line, where it was sent as text or with its parts."""
        whole = self._trait_text("address")
        if whole is not None:
            return whole
        parts = (self.street, self.city, self.region, self.postal_code, self.country)
        return ", ".join(part for part in parts if part) or None

    @property
    def street(self) -> str | None:
        """The street; the whole address, where it was sent as one text."""
        return self._address("street", "streetaddress", "line1", "address1") or self._trait_text(
            "address"
        )

    @property
    def city(self) -> str | None:
        """The city, as the traits or properties have it."""
        return self._address("city", "town", "locality")

    @property
    def region(self) -> str | None:
        """The region; senders use `state` for the same."""
        return self._address("region", "state", "province")

    @property
    def state(self) -> str | None:
        """The state; senders use `region` for the same."""
        return self._address("state", "region", "province")

    @property
    def postal_code(self) -> str | None:
        """The postal code, under that name or as `zip`; numbers become text."""
        return self._address("postalcode", "zip", "zipcode", "postcode")

    @property
    def country(self) -> str | None:
        """The country, as the traits or properties have it: a code or a name."""
        return self._address("country", "countrycode")

    @property
    def country_code(self) -> str | None:
        """The country's code in capitals, two letters as ISO 3166 has them; None for a name."""
        places = self._address_places()[0]
        for key in ("countrycode", "country"):
            for place in places:
                code = (plain_text(place.get(key)) or "").strip()
                if len(code) == 2 and code.isascii() and code.isalpha():
                    return code.upper()
        return None

    def _address(self, *keys: str) -> str | None:
        """The first text under one of the names, which are in plain form."""
        for places in self._address_places():
            for key in keys if places else ():
                for place in places:
                    value = place.get(key)
                    if value is not None:
                        text = plain_text(value)
                        if text is not None and (text := text.strip()):
                            return text
        return None

    # Any: decoded JSON
    def _address_places(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Where parts of an address may stand: in traits, then in properties; by plain keys.

        Of each the objects `address` come first. Made once for all parts.
        """
        if self._places is None:
            users = self.user_traits if self._decoded().get("type") != "group" else {}
            traits = self.traits
            self._places = (
                _places([traits, users] if users is not traits else [traits]),
                _places([self.properties]),
            )
        return self._places


# Any: decoded JSON
def _places(sources: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    wholes = [plain_keys(source) for source in sources if source]
    inner = []
    for whole in wholes:
        address = whole.get("address")
        if isinstance(address, dict) and address:
            inner.append(plain_keys(address))
        # Keys may hold the dot themselves.
        flat = {key[8:]: value for key, value in whole.items() if key.startswith("address.")}
        if flat:
            inner.append(flat)
    return inner + wholes
