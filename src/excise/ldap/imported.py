"""ldap3, loaded without the warnings that are meant for its own developers."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # ldap3 2.9.1 uses names of pyasn1 that have newer ones.
    warnings.simplefilter("ignore", DeprecationWarning)
    import ldap3
    from ldap3.core import exceptions

__all__ = ["exceptions", "ldap3"]
