"""Whether messages can be taken out of a file in place, told without writing to it."""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from typing import IO

from excise.core.errors import DamagedInput
from excise.pst.disk.damage import Damaged
from excise.pst.file.nowhere import Nowhere
from excise.pst.file.read import open_pst
from excise.pst.file.rewrite import Soundness, Unsound, judge
from excise.pst.messaging.removal import plan_removal
from excise.pst.ndb.edit_journal import IMAGE
from excise.pst.ndb.edit_open import check_editable
from excise.pst.ndb.edit_survey import Survey
from excise.pst.ndb.read import Node
from excise.pst.ndb.write import NO_TREE, NodeWriter, SubnodeEntry


def why_not_in_place(
    source: str | os.PathLike[str] | IO[bytes], nids: AbstractSet[int], *, soundness: Soundness
) -> str:
    """Why ``excise.pst.purge`` would refuse to take the messages ``nids`` out of ``source``; empty where it would not.

    Errors as of ``excise.pst.open``. The whole file is read.
    """
    with open_pst(source) as pst:
        try:
            check_editable("it", pst.source.read(0, IMAGE), pst.source.size)
            Survey(pst.ndb)
            removal = plan_removal(pst.store, nids)
            writer = NodeWriter(Nowhere(), like=pst.header)
            for nid in sorted(removal.rebuilt):
                removal.rebuild(nid, writer, _keep)
            judge(soundness, pst.source)
        except Unsound as error:
            return f"cannot be changed in place: it is damaged: {error.damage.text()}"
        except DamagedInput as error:
            return error.message.removeprefix("it: ")
        except Damaged as error:
            return f"cannot be changed in place: it is damaged: {error}"
    return ""


def _keep(node: Node) -> SubnodeEntry:
    return SubnodeEntry(node.nid, NO_TREE, NO_TREE)
