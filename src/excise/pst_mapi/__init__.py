"""MAPI items as messages of PST files: what lies between ``excise.mapi``, which knows no files, and ``excise.pst``,
which knows no items."""
