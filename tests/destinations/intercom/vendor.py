"""Intercom for the suites that ask all destinations the same."""

from __future__ import annotations

from tests.harness.vendors import Vendor, answer

VENDOR = Vendor(
    settings={
        "access_token": "T",
        "contact_attributes": {"plan": "plan"},
        "company_attributes": {"plan": "tier"},
    },
    answer=lambda request: answer(200, {"type": "contact", "id": "1", "data": []}),
    any_but_html=frozenset({"track"}),
    sources=(
        "https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/contacts/createcontact",
        "https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/companies/createorupdatecompany",
        "https://developers.intercom.com/docs/references/2.14/rest-api/api.intercom.io/data-events/createdataevent",
    ),
    journey_settings={"access_token": "T", "contact_attributes": {"plan": "plan"}},
)
