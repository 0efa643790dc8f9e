"""Marketo's default fields: which standard field of a person gets what. A table, no code.

Fields of the company (`company`, `website`, `industry`, ...) are left out: a note on the page of
the upsert says that it does not support them for people who belong to one. Settings may map them
all the same. So is `marketoSocialGender`, which only some subscriptions have: an unknown field
makes Marketo refuse the person.
https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/list-of-standard-fields
https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/lead-database/leads
"""

from __future__ import annotations

from destinations.kit import MappingTable

DEFAULTS = MappingTable(
    identify={
        # By themselves, else of the whole name.
        "firstName": "@first_name",
        "lastName": "@last_name",
        "middleName": "traits.middleName",
        "salutation": "traits.salutation",
        "title": "traits.title ?? @position",
        "department": "traits.department",
        "phone": "@phone",
        "mobilePhone": "traits.mobilePhone ?? traits.mobile",
        "fax": "traits.fax",
        "address": "@street",
        "city": "@city",
        "state": "@state",
        "country": "@country",
        "postalCode": "@postal_code",
        "dateOfBirth": "date(traits.birthday)",
        "leadSource": "traits.leadSource",
    }
)
