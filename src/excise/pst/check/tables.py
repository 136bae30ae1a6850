"""Table Contexts by themselves: columns, rows, and the versions of rows, unique in a file ([MS-PST] 2.3.4)."""

from __future__ import annotations

from itertools import pairwise

from excise.pst.check.bth import check_bth
from excise.pst.check.report import ERROR, WARNING, Report
from excise.pst.disk.damage import Damage, Damaged
from excise.pst.disk.formats import UNICODE_4K
from excise.pst.disk.heaps import TCInfo, TColDesc, is_hid, rows_per_block
from excise.pst.ltp.table import ROW_ID, ROW_VERSION, TableContext
from excise.pst.ltp.values import fixed_size
from excise.pst.ndb.read import Node, NodeDatabase

# Where these columns must stand: tag, ibData, iBit, name.
_FIXED_COLUMNS = ((0x67F20003, 0, 0, "PidTagLtpRowId"), (0x67F30003, 4, 1, "PidTagLtpRowVer"))


class TableChecks:
    """Checks the tables of one file into ``report``."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._versions: dict[int, int] = {}

    def check(self, node: Node) -> None:
        """Check the table of ``node``."""
        try:
            table = TableContext(node)
            self._check_columns(table)
            self._check_index(table)
            self._check_versions(table)
        except Damaged as error:
            self._report.add(ERROR, error.damage)

    def check_highest(self, ndb: NodeDatabase) -> None:
        """After all tables: dwUnique is above every row version."""
        highest = max(self._versions, default=0)
        if highest >= ndb.header.dwUnique:
            expected, found = f"above row version {highest}", str(ndb.header.dwUnique)
            self._report.add(WARNING, Damage("disk", "HEADER", "dwUnique", "the header", 0, expected, found))

    def _add(self, table: TableContext, structure: str, field: str, expected: str, found: str) -> None:
        place = f"table 0x{table.node.nid:x}"
        self._report.add(WARNING, Damage("ltp", structure, field, place, -1, expected, found))

    def _check_columns(self, table: TableContext) -> None:
        """The rules of TCINFO and TCOLDESC that strict readers and repair tools hold a table to."""
        info = table.info
        columns = info.rgTCOLDESC
        bitmap = (len(columns) + 7) // 8
        if list(info.rgib) != sorted(info.rgib) or info.rgib[3] - info.rgib[2] != bitmap:
            expected = f"ascending ends of cells, then {bitmap} bytes of bits"
            self._add(table, "TCINFO", "rgib", expected, str(info.rgib))
        if [each.tag for each in columns] != sorted({each.tag for each in columns}):
            self._add(table, "TCINFO", "rgTCOLDESC", "ascending tags", "tags out of order or twice")
        if sorted(each.iBit for each in columns) != list(range(len(columns))):
            self._add(table, "TCOLDESC", "iBit", "a bit for each column", "bits left out or twice")
        places = sorted((each.ibData, each.ibData + each.cbData) for each in columns)
        if any(one[1] > other[0] for one, other in pairwise(places)):
            self._add(table, "TCOLDESC", "ibData", "a place for each cell", "cells in one another")
        for each in columns:
            if each.cbData != _cell_size(each) or not _in_section(each, info):
                expected = f"{_cell_size(each)} bytes where cells of that size are"
                found = f"{each.cbData} at {each.ibData} of column 0x{each.tag:08x}, rgib {info.rgib}"
                self._add(table, "TCOLDESC", "cbData", expected, found)
        by_tag = {each.tag: each for each in columns}
        for tag, ib, bit, name in _FIXED_COLUMNS:
            column = by_tag.get(tag)
            if column is None:
                self._add(table, "TCINFO", name, "a column", "none")
            elif (column.ibData, column.iBit) != (ib, bit):
                self._add(table, "TCOLDESC", name, f"ibData {ib}, iBit {bit}", f"{column.ibData}, {column.iBit}")

    def _check_index(self, table: TableContext) -> None:
        """The row index against the row matrix, both ways: a row that nothing lists is there too."""
        check_bth(table.heap, table.info.hidRowIndex, self._report)
        numbers = sorted(number for _, number in table.index)
        count, rest = _matrix_rows(table)
        if rest:
            expected, found = f"whole rows of {table.row_size} bytes", f"{rest} bytes more"
            self._add(table, "TCINFO", "hnidRows", expected, found)
        if len(numbers) != count or any(at != number for at, number in enumerate(numbers)):
            expected, found = "each row of the matrix once", f"{len(numbers)} records for {count} rows"
            self._add(table, "TCINFO", "hidRowIndex", expected, found)

    def _check_versions(self, table: TableContext) -> None:
        nid = table.node.nid
        for row in table.rows():
            self._report.checked["rows"] += 1
            version = row.integer(ROW_VERSION)
            place = f"row 0x{row.row_id:x} of table 0x{nid:x}"
            if version is None or row.type_of(ROW_ID) is None:
                expected, found = "PidTagLtpRowId and PidTagLtpRowVer", "not both"
                self._report.add(WARNING, Damage("ltp", "TCROW", "rgbCEB", place, -1, expected, found))
            if version is None:
                continue
            if version in self._versions:
                expected = "a version of its own"
                found = f"{version}, which table 0x{self._versions[version]:x} has too"
                self._report.add(WARNING, Damage("ltp", "TCROW", "PidTagLtpRowVer", place, -1, expected, found))
            self._versions[version] = nid


def _cell_size(column: TColDesc) -> int:
    size = fixed_size(column.tag & 0xFFFF)
    return size if size is not None and size <= 8 else 4


def _in_section(column: TColDesc, info: TCInfo) -> bool:
    """True where a cell lies among those of its size: 8 and 4 bytes first, then 2, then 1."""
    end4, end2, end1, _ = info.rgib
    size = column.cbData
    start, end = (0, end4) if size >= 4 else (end4, end2) if size == 2 else (end2, end1)
    return start <= column.ibData <= end - size and not column.ibData % min(size, 4)


def _matrix_rows(table: TableContext) -> tuple[int, int]:
    """How many whole rows the matrix holds, and the bytes left over at its end."""
    hnid, size = table.info.hnidRows, table.row_size
    if is_hid(hnid):
        return divmod(len(table.heap.item(hnid)), size)
    ndb = table.node.ndb
    tree = table.heap.subnode(hnid).data
    per_block = rows_per_block(ndb.format, size)
    if not tree.leaves:
        return 0, 0
    entry = ndb.block_entry(tree.leaves[-1])
    whole, rest = divmod(entry.cbInflated if ndb.format is UNICODE_4K else entry.cb, size)
    return (len(tree.leaves) - 1) * per_block + whole, rest
