"""PST and OST files in pure Python. Of the rest of Excise it uses nothing but ``excise.core``.

>>> import excise.pst
>>> with excise.pst.open("mail.pst") as pst:  # doctest: +SKIP
...     for folder in pst.folders():
...         for row in folder.summaries():
...             print(folder.path, row.subject, row.delivery_time)
"""

from excise.pst.changes import append, compact, purge
from excise.pst.check.report import Report
from excise.pst.check.run import check_pst as check
from excise.pst.disk.damage import Damage, Damaged
from excise.pst.file.append import AppendedFolder, PstAppender
from excise.pst.file.compact import Compaction
from excise.pst.file.create import NewFolder, NewPst
from excise.pst.file.create import create_pst as create
from excise.pst.file.purge import Purged
from excise.pst.file.read import PstFile
from excise.pst.file.read import open_pst as open
from excise.pst.file.rewrite import Unsound
from excise.pst.file.salvage import Lost, Salvage, salvage
from excise.pst.messaging.names import PropertyName
from excise.pst.messaging.new_message import NewAttachment, NewMessage, NewProperty

__all__ = [
    "AppendedFolder", "Compaction", "Damage", "Damaged", "Lost", "NewAttachment", "NewFolder", "NewMessage",
    "NewProperty", "NewPst", "PropertyName", "PstAppender", "PstFile", "Purged", "Report", "Salvage", "Unsound",
    "append", "check", "compact", "create", "open", "purge", "salvage",
]  # fmt: skip
