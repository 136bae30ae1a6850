"""The case: its directory, evidence parts, chained logs, sealed bags and their verification."""
