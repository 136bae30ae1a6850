"""Restrictions, pages, orders and shapes of the EWS server's FindItem and FindFolder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ews.worlds import NAMES, START, Client, mail, serving, small_world
from ews_server import Mailbox, World

_IDS = "<t:BaseShape>IdOnly</t:BaseShape>"
_SUBJECT = f'{_IDS}<t:AdditionalProperties><t:FieldURI FieldURI="item:Subject"/></t:AdditionalProperties>'


@pytest.fixture(scope="module")
def anna() -> Iterator[tuple[Client, World, Mailbox]]:
    """Anna's own client over a varied inbox."""
    world, mailbox = small_world(0)
    world.deliver(mailbox, "inbox", mail(0, "Übung macht den Meister"), read=True)
    world.deliver(mailbox, "inbox", mail(1, "Invoice 17 overdue", attachment="i.pdf"), categories=["Red", "Blue"])
    world.deliver(mailbox, "inbox", mail(2, "RE: invoice 18", sender='"Carol, C." <carol@example.net>'))
    world.deliver(mailbox, "inbox", mail(3, "Long " + "x" * 400))
    world.deliver(mailbox, "inbox", mail(4, "Hidden"), associated=True)
    world.deliver(mailbox, "inbox", mail(5, "Odd"), extended={"tag:8001:Integer": ("Integer", "6")})
    for item in world.items_in(mailbox, "inbox"):
        item.received = START.replace(minute=item.number)
    with serving(world) as server:
        yield Client(server), world, mailbox
        assert not server.log.complaints


def find(client: Client, restriction: str = "", *, view: str = "", order: str = "", shape: str = _SUBJECT,
         traversal: str = "Shallow", rest: str = "") -> object:  # fmt: skip
    """The answer of a FindItem in the inbox."""
    limited = f"<m:Restriction>{restriction}</m:Restriction>" if restriction else ""
    ordered = order or (
        '<m:SortOrder><t:FieldOrder Order="Ascending"><t:FieldURI FieldURI="item:DateTimeReceived"/></t:FieldOrder>'
        "</m:SortOrder>"
    )
    return client.ask(
        f'<m:FindItem Traversal="{traversal}"><m:ItemShape>{shape}</m:ItemShape>{view}{limited}{ordered}'
        f'<m:ParentFolderIds><t:DistinguishedFolderId Id="inbox"/></m:ParentFolderIds>{rest}</m:FindItem>'
    )


def subjects(answer: object) -> list[str]:
    """The first words of the subjects in an answer."""
    found = answer.iterfind(".//t:Subject", NAMES)  # type: ignore[attr-defined]
    return [subject.text.split()[0] for subject in found]


def code(answer: object) -> str:
    """The answer's response code."""
    return answer.findtext(".//m:ResponseCode", namespaces=NAMES)  # type: ignore[attr-defined,no-any-return]


def field(uri: str) -> str:
    """A FieldURI."""
    return f'<t:FieldURI FieldURI="{uri}"/>'


def tag(number: str, kind: str) -> str:
    """An ExtendedFieldURI."""
    return f'<t:ExtendedFieldURI PropertyTag="{number}" PropertyType="{kind}"/>'


def compare(name: str, path: str, value: str) -> str:
    """A comparison with a constant."""
    constant = f'<t:FieldURIOrConstant><t:Constant Value="{value}"/></t:FieldURIOrConstant>'
    return f"<t:{name}>{path}{constant}</t:{name}>"


def contains(path: str, value: str, mode: str = "Substring", comparison: str = "IgnoreCase") -> str:
    """A Contains."""
    how = f'ContainmentMode="{mode}" ContainmentComparison="{comparison}"'
    return f'<t:Contains {how}>{path}<t:Constant Value="{value}"/></t:Contains>'


SUBJECT = field("item:Subject")
RECEIVED = field("item:DateTimeReceived")
FIRST = ["Übung", "Invoice"]


@pytest.mark.parametrize(
    ("restriction", "found"),
    [
        (contains(SUBJECT, "INVOICE"), ["Invoice", "RE:"]),
        (contains(SUBJECT, "INVOICE", comparison="Exact"), []),
        (contains(SUBJECT, "invoice", mode="Prefixed"), ["Invoice"]),
        (contains(SUBJECT, "over", mode="PrefixOnWords"), ["Invoice"]),
        (contains(SUBJECT, "invoice 17", mode="ExactPhrase"), ["Invoice"]),
        (contains(SUBJECT, "ubung", comparison="IgnoreCaseAndNonSpacingCharacters"), ["Übung"]),
        (contains(SUBJECT, "odd", mode="FullString"), ["Odd"]),
        (contains(field("item:Body"), "body of 2"), ["RE:"]),
        (contains(field("message:From"), "carol, c."), ["RE:"]),
        (contains(field("message:From"), "carol@"), []),
        (contains(field("item:DisplayTo"), "anna"), ["Übung", "Invoice", "RE:", "Long", "Odd"]),
        (contains(tag("0x007D", "String"), "carol@example.net"), ["RE:"]),
        (contains(tag("0x5D01", "String"), "carol@"), ["RE:"]),
        (compare("IsEqualTo", SUBJECT, "ODD"), ["Odd"]),
        (compare("IsEqualTo", field("message:From"), "carol@example.net"), ["RE:"]),
        (compare("IsEqualTo", field("item:Categories"), "Blue"), ["Invoice"]),
        (compare("IsEqualTo", field("message:IsRead"), "true"), ["Übung"]),
        (compare("IsEqualTo", field("item:HasAttachments"), "1"), ["Invoice"]),
        (compare("IsEqualTo", field("message:InternetMessageId"), "&lt;m3@example.org&gt;"), ["Long"]),
        (compare("IsEqualTo", field("item:Importance"), "High"), []),
        (compare("IsNotEqualTo", field("item:ItemClass"), "IPM.Note"), []),
        (compare("IsGreaterThan", RECEIVED, "2026-01-05T09:03:00Z"), ["Long", "Odd"]),
        (compare("IsGreaterThanOrEqualTo", RECEIVED, "2026-01-05T10:03:00+01:00"), ["RE:", "Long", "Odd"]),
        (compare("IsLessThan", RECEIVED, "2026-01-05T09:02:00Z"), ["Übung"]),
        (compare("IsLessThanOrEqualTo", RECEIVED, "2026-01-05T09:02:00Z"), ["Übung", "Invoice"]),
        (compare("IsGreaterThan", field("item:Size"), "1600"), ["Invoice", "Long"]),
        (f"<t:Exists>{tag('0x8001', 'Integer')}</t:Exists>", ["Odd"]),
        (f"<t:Not><t:Exists>{field('item:Categories')}</t:Exists></t:Not>", ["Übung", "RE:", "Long", "Odd"]),
        (f'<t:Excludes>{tag("0x8001", "Integer")}<t:Bitmask Value="0x2"/></t:Excludes>', [*FIRST, "RE:", "Long"]),
        (f'<t:And>{contains(SUBJECT, "invoice")}{contains(SUBJECT, "17")}</t:And>', ["Invoice"]),
        (f'<t:Or>{contains(SUBJECT, "17")}{contains(SUBJECT, "odd")}</t:Or>', ["Invoice", "Odd"]),
    ],
)  # fmt: skip
def test_every_kind_of_expression(anna: tuple[Client, World, Mailbox], restriction: str, found: list[str]) -> None:
    client, _, _ = anna
    assert subjects(find(client, restriction)) == found


@pytest.mark.parametrize(
    ("restriction", "expected"),
    [
        (contains(field("message:ToRecipients"), "anna"), "ErrorUnsupportedPathForQuery"),
        (contains(field("item:Attachments"), "pdf"), "ErrorUnsupportedPathForQuery"),
        (contains(field("item:Size"), "1"), "ErrorContainsFilterWrongType"),
        (compare("IsEqualTo", field("item:Size"), "big"), "ErrorInvalidValueForProperty"),
    ],
)
def test_what_a_server_refuses(anna: tuple[Client, World, Mailbox], restriction: str, expected: str) -> None:
    client, _, _ = anna
    assert code(find(client, restriction)) == expected


def test_pages_come_by_offset_from_both_ends_and_by_fraction(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna

    def page(view: str) -> tuple[list[str], dict[str, str]]:
        answer = find(client, view=view)
        return subjects(answer), dict(answer.find(".//m:RootFolder", NAMES).attrib)  # type: ignore[attr-defined]

    indexed = '<m:IndexedPageItemView MaxEntriesReturned="2" Offset="{}" BasePoint="{}"/>'
    assert page(indexed.format(0, "Beginning")) == (
        ["Übung", "Invoice"],
        {"IndexedPagingOffset": "2", "TotalItemsInView": "5", "IncludesLastItemInRange": "false"},
    )
    found, told = page(indexed.format(4, "Beginning"))
    assert (found, told["IncludesLastItemInRange"]) == (["Odd"], "true")
    assert page(indexed.format(0, "End"))[0] == ["Long", "Odd"]
    assert page(indexed.format(9, "Beginning"))[0] == []
    found, told = page('<m:FractionalPageItemView MaxEntriesReturned="2" Numerator="2" Denominator="5"/>')
    assert (found, told["NumeratorOffset"], told["AbsoluteDenominator"]) == (["RE:", "Long"], "4", "5")


def test_a_restricted_page_has_at_most_so_many_rows() -> None:
    world, _ = small_world(7)
    with serving(world) as server:
        server.quirks.restricted_page_limit = 3
        client = Client(server)
        assert len(subjects(find(client))) == 7
        answer = find(client, contains(SUBJECT, "message"))
        assert len(subjects(answer)) == 3
        assert answer.find(".//m:RootFolder", NAMES).get("IncludesLastItemInRange") == "false"  # type: ignore[attr-defined]


def test_without_an_order_the_newest_comes_first(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    assert subjects(find(client, order=" ")) == ["Odd", "Long", "RE:", "Invoice", "Übung"]
    by_subject = f'<m:SortOrder><t:FieldOrder Order="Descending">{SUBJECT}</t:FieldOrder></m:SortOrder>'
    assert subjects(find(client, order=by_subject)) == ["Übung", "RE:", "Odd", "Long", "Invoice"]


def test_hidden_items_are_found_apart(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    assert subjects(find(client, traversal="Associated")) == ["Hidden"]
    assert subjects(find(client, traversal="SoftDeleted")) == []


def test_strings_are_cut_and_people_have_no_addresses(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    additional = f"{SUBJECT}{field('message:From')}{tag('0x007D', 'String')}{tag('0x0037', 'String')}"
    shape = f"{_IDS}<t:AdditionalProperties>{additional}</t:AdditionalProperties>"
    answer = find(client, contains(SUBJECT, "Long"), shape=shape)
    assert len(answer.findtext(".//t:Subject", namespaces=NAMES)) == 255  # type: ignore[attr-defined]
    assert [len(value.text) for value in answer.iterfind(".//t:Value", NAMES)] == [255, 255]  # type: ignore[attr-defined]
    assert answer.findtext(".//t:From/t:Mailbox/t:Name", namespaces=NAMES) == "Bob"  # type: ignore[attr-defined]
    assert answer.find(".//t:EmailAddress", NAMES) is None  # type: ignore[attr-defined]


def test_bodies_recipients_and_mime_come_from_getitem_alone(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    everything = find(client, shape="<t:BaseShape>AllProperties</t:BaseShape>")
    names = {element.tag.split("}")[1] for element in everything.iter()}  # type: ignore[attr-defined]
    assert {"Subject", "DisplayTo", "HasAttachments"} <= names
    assert not names & {"Body", "ToRecipients", "Attachments", "MimeContent"}
    body = f"{_IDS}<t:AdditionalProperties>{field('item:Body')}</t:AdditionalProperties>"
    assert code(find(client, shape=body)) == "ErrorInvalidPropertyRequest"
    assert code(find(client, shape=f"{_IDS}<t:IncludeMimeContent>true</t:IncludeMimeContent>")) != "NoError"


def test_a_query_string_asks_an_index_and_goes_with_no_restriction(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna

    def query(words: str, restriction: str = "") -> object:
        return find(client, restriction, rest=f"<m:QueryString>{words}</m:QueryString>")

    assert subjects(query("subject:inv")) == ["Invoice", "RE:"]
    assert subjects(query("attachment:i.pdf AND subject:overdue")) == ["Invoice"]
    assert subjects(query("nvoice")) == []
    assert (
        b"Fault"
        in client.post(
            '<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape></m:ItemShape>'
            f"<m:Restriction>{contains(SUBJECT, 'x')}</m:Restriction><m:ParentFolderIds>"
            '<t:DistinguishedFolderId Id="inbox"/></m:ParentFolderIds><m:QueryString>x</m:QueryString></m:FindItem>'
        )[1]
    )


def test_items_are_grouped(anna: tuple[Client, World, Mailbox]) -> None:
    client, _, _ = anna
    by = (
        f'<m:GroupBy Order="Ascending">{field("message:IsRead")}<t:AggregateOn Aggregate="Maximum">{RECEIVED}'
        "</t:AggregateOn></m:GroupBy>"
    )
    answer = find(client, view=by)
    groups = {
        group.findtext("t:GroupIndex", namespaces=NAMES): len(group.find("t:Items", NAMES))
        for group in answer.iterfind(".//t:GroupedItems", NAMES)  # type: ignore[attr-defined]
    }
    assert groups == {"True": 1, "False": 4}


def test_folders_are_found_below_and_by_name(anna: tuple[Client, World, Mailbox]) -> None:
    client, world, mailbox = anna
    world.folder(mailbox, world.folder(mailbox, "inbox", "Outer"), "Inner/Most")

    def folders(traversal: str, restriction: str = "", view: str = "") -> list[str]:
        limited = f"<m:Restriction>{restriction}</m:Restriction>" if restriction else ""
        answer = client.ask(
            f'<m:FindFolder Traversal="{traversal}"><m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>'
            f'{view}{limited}<m:ParentFolderIds><t:DistinguishedFolderId Id="inbox"/></m:ParentFolderIds>'
            "</m:FindFolder>"
        )
        return [name.text for name in answer.iterfind(".//t:DisplayName", NAMES)]

    assert folders("Shallow") == ["Outer"]
    assert folders("Deep") == ["Outer", "Inner/Most"]
    assert folders("Deep", contains(field("folder:DisplayName"), "most")) == ["Inner/Most"]
    view = '<m:IndexedPageFolderView MaxEntriesReturned="1" Offset="1" BasePoint="Beginning"/>'
    assert folders("Deep", view=view) == ["Inner/Most"]


def test_ids_may_differ_in_the_case_of_a_letter_alone() -> None:
    world, _ = small_world(30)
    with serving(world) as server:
        found = find(Client(server), shape=_IDS)
        ids = [identity.get("Id") for identity in found.iterfind(".//t:ItemId", NAMES)]  # type: ignore[attr-defined]
    assert len({identity.lower() for identity in ids}) < len(set(ids)) == 30
