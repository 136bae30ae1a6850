"""Where servers differ, as switches; the defaults are Microsoft Exchange's as far as it is known."""

from __future__ import annotations

from dataclasses import dataclass

EXCHANGE_2016 = (15, 1, 2507, 37)
GROMOX = (15, 0, 847, 4040)


@dataclass
class Quirks:
    """How this server differs from others. `gromox()` gives the ways of the server that EWS-FACTS was measured on."""

    version: tuple[int, int, int, int] = EXCHANGE_2016
    schema_version: str = "V2017_07_11"
    prefix: str = "s"
    content_type: str = "text/xml; charset=utf-8"
    # How answers travel: Exchange compresses for clients that accept it, and sends in chunks.
    gzip: bool = True
    chunked: bool = True
    fault_status: int = 500
    fault_detail: bool = True
    fraction: int = 0
    check_change_keys: bool = True
    # DavMail removes with ChangeKeys that its own changes made stale, and is used with Exchange.
    check_change_keys_on_delete: bool = False
    find_gives_addresses: bool = False
    delegates_use_deleted_items: bool = False
    mime_anew: bool = True
    mime_for_all_classes: bool = False
    most_connections: int = 0
    honour_restrictions: bool = True
    honour_query_strings: bool = True
    body_restrictions: bool = True
    drop_unknown_fields: bool = False
    groups_beside_items: bool = False
    offset_on_last_page: bool = False
    page_limit: int = 1000
    restricted_page_limit: int = 250
    export_items: bool = True
    # Members of a list, and people of the address list, that are given at most (0: all), with what there are in all.
    most_members: int = 0
    most_people: int = 0
    autodiscover_json: bool = True
    unknown_mailbox: str = "ErrorNonExistentMailbox"
    aliases_open: bool = False
    malformed_id: str = "ErrorInvalidIdMalformed"
    received_always: bool = False
    distinguished_always: bool = False
    # Requests that break the schemas are refused, where the server has the schemas.
    validate_requests: bool = True


def gromox() -> Quirks:
    """The ways of gromox 3.10."""
    return Quirks(
        version=GROMOX,
        prefix="SOAP",
        content_type="text/xml",
        gzip=False,
        chunked=False,
        fault_status=200,
        fault_detail=False,
        fraction=9,
        check_change_keys=False,
        find_gives_addresses=True,
        delegates_use_deleted_items=True,
        mime_for_all_classes=True,
        honour_query_strings=False,
        body_restrictions=False,
        drop_unknown_fields=True,
        groups_beside_items=True,
        offset_on_last_page=True,
        page_limit=0,
        restricted_page_limit=0,
        export_items=False,
        unknown_mailbox="ErrorCannotFindUser",
        aliases_open=True,
        malformed_id="ErrorInvalidId",
        received_always=True,
        distinguished_always=True,
        validate_requests=False,
    )
