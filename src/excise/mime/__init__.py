"""MIME as it is found in mail: header blocks, addresses, parameters, parts, contents (RFC 5322, 2045-2047, 2231)."""
