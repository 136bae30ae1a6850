"""One PST or OST file, opened."""
