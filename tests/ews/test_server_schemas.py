"""Microsoft's schemas as the EWS server uses them: whole answers of every kind of item and folder validate."""

from __future__ import annotations

import pytest
from lxml import etree

from ews.test_server_operations import ids_of
from ews.worlds import NAMES, SAMPLES, SCHEMAS, START, Client, mail, needs_schemas, serving, small_world
from ews_server.item_fields import CLASSES, KINDS
from ews_server.mime import Address
from ews_server.schema import load

pytestmark = needs_schemas
_VALUES: dict[str, object] = {
    "calendar:Start": START,
    "calendar:End": START,
    "calendar:IsAllDayEvent": False,
    "calendar:LegacyFreeBusyStatus": "Busy",
    "calendar:Location": "Room",
    "calendar:IsMeeting": True,
    "calendar:IsCancelled": False,
    "calendar:IsRecurring": False,
    "calendar:CalendarItemType": "Single",
    "calendar:Organizer": Address("Bob", "bob@example.test"),
    "contacts:FileAs": "Carol",
    "contacts:DisplayName": "Carol",
    "contacts:GivenName": "Carol",
    "contacts:CompanyName": "Example",
    "contacts:JobTitle": "Boss",
    "contacts:Surname": "C.",
    "task:DueDate": START,
    "task:IsComplete": False,
    "task:Owner": "Anna",
    "task:PercentComplete": "50",
    "task:StartDate": START,
    "task:Status": "InProgress",
    "meeting:IsOutOfDate": False,
    "meeting:HasBeenProcessed": False,
    "meeting:ResponseType": "Accept",
}
ODD = mail(1, "Controls \x01\x1f and \U0001f600", attachment="ü\x02.pdf") + b"\xff\xfe"


@pytest.mark.parametrize("item_class", [*(name for name, _ in CLASSES), "IPM.Odd", "IPM", ""])
@pytest.mark.parametrize("operation", ["GetItem", "FindItem", "SyncFolderItems"])
def test_every_kind_of_item_validates_with_all_that_it_has(item_class: str, operation: str) -> None:
    world, anna = small_world(0)
    world.deliver(anna, "inbox", ODD, item_class=item_class, values=dict(_VALUES), categories=["a", "b"])
    world.deliver(anna, "inbox", b"", item_class=item_class)
    shape = "<m:ItemShape><t:BaseShape>AllProperties</t:BaseShape></m:ItemShape>"
    inbox = '<t:DistinguishedFolderId Id="inbox"/>'
    parents = f"<m:ParentFolderIds>{inbox}</m:ParentFolderIds>"
    rest = {
        "GetItem": f"<m:GetItem>{shape}<m:ItemIds>{''.join(ids_of(world, anna))}</m:ItemIds></m:GetItem>",
        "FindItem": f'<m:FindItem Traversal="Shallow">{shape}{parents}</m:FindItem>',
        "SyncFolderItems": f"<m:SyncFolderItems>{shape}<m:SyncFolderId>{inbox}</m:SyncFolderId>"
        "<m:MaxChangesReturned>9</m:MaxChangesReturned></m:SyncFolderItems>",
    }[operation]
    with serving(world) as server:
        answer = Client(server).ask(rest)
        assert server.log.complaints == []
    kind = next((found for name, found in CLASSES if name == item_class), "Item")
    assert len(answer.findall(f".//t:{kind}", NAMES)) == 2
    if operation == "GetItem":
        shown = answer.find(f".//t:{kind}", NAMES)
        names = {child.tag.split("}")[1] for child in shown}
        assert {uri.split(":")[1] for uri in KINDS[kind] if uri in _VALUES} <= names


def test_every_folder_validates_with_all_that_it_has() -> None:
    world, anna = small_world()
    world.find_folder(anna, "calendar").permissions["bob@example.test"] = "Editor"
    world.find_folder(anna, "inbox").permissions["bob@example.test"] = "FolderVisible"
    roots = "".join(f'<t:DistinguishedFolderId Id="{name}"/>' for name in ("root", "archiveroot"))
    with serving(world) as server:
        answer = Client(server).ask(
            '<m:FindFolder Traversal="Deep"><m:FolderShape><t:BaseShape>AllProperties</t:BaseShape></m:FolderShape>'
            f"<m:ParentFolderIds>{roots}</m:ParentFolderIds></m:FindFolder>"
        )
        assert server.log.complaints == []
    kinds = {child.tag.split("}")[1] for folders in answer.iterfind(".//t:Folders", NAMES) for child in folders}
    assert kinds == {"Folder", "CalendarFolder", "ContactsFolder", "TasksFolder", "SearchFolder"}


def test_requests_that_break_the_schemas_are_refused_and_remembered() -> None:
    world, _ = small_world()
    with serving(world) as server:
        client = Client(server)
        assert b"ErrorSchemaValidation" in client.post("<m:DeleteItem><m:ItemIds/></m:DeleteItem>")[1]
        assert any("DeleteType" in text for text in server.log.complaints)
        server.quirks.validate_requests = False
        assert b"ErrorSchemaValidation" not in client.post("<m:DeleteItem><m:ItemIds/></m:DeleteItem>")[1]
        server.log.clear()
        assert not server.log.complaints


def test_recorded_requests_of_a_real_client_validate() -> None:
    assert SCHEMAS is not None
    assert SAMPLES is not None
    schemas = load(SCHEMAS)
    files = [file for file in SAMPLES.glob("*-FindItem-*-request.xml") if "exchangelib" in _sent_by(file.name)]
    assert len(files) > 30
    for file in files:
        assert schemas.complaints(etree.parse(file).getroot()) == [], file.name


def _sent_by(name: str) -> str:
    """What the recording says of who sent a request; raw ones are meant to break things."""
    assert SAMPLES is not None
    headers = (SAMPLES / name.replace("request.xml", "headers.txt")).read_text()
    request = (SAMPLES / name).read_text()
    return "raw" if 'Version="Exchange2013_SP1"' in request else headers
