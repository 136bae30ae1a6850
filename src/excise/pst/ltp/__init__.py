"""Lists, tables and properties ([MS-PST] 2.3)."""
