"""A test server that speaks Exchange Web Services over a world kept in memory.

    world = World()
    world.user("admin@example.test", "secret", impersonates=["*"])
    anna = world.mailbox("anna@example.test", "annas-password", archive=True)
    world.deliver(anna, "inbox", b"From: …", received=…)
    with Server(world, schemas=Path("…/ews-schema")) as server:
        …  # talk to server.url
        assert server.log.count["FindItem"] == 1 and not server.log.complaints and not world.sent

A server of its own process, which can be killed and started again: `process.ServerProcess`.
Faults: `server.faults.add(…)`, see `faults`. Ways of other servers: `Server(world, quirks=gromox())`, see `quirks`.
"""

from .faults import Fault, FaultScript, busy, part, part_busy, quota_exceeded
from .log import Log, Request
from .model import DistributionList, Folder, Item, Mailbox, Sent, User
from .process import ServerProcess
from .quirks import Quirks, gromox
from .schema import Schemas
from .server import Server
from .state import State
from .world import World

__all__ = [
    "DistributionList",
    "Fault",
    "FaultScript",
    "Folder",
    "Item",
    "Log",
    "Mailbox",
    "Quirks",
    "Request",
    "Schemas",
    "Sent",
    "Server",
    "ServerProcess",
    "State",
    "User",
    "World",
    "busy",
    "gromox",
    "part",
    "part_busy",
    "quota_exceeded",
]
