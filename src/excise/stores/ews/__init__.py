"""Mailboxes on an Exchange server, over Exchange Web Services (``ews://HOST/ADDRESS``).

What is loaded here is small: exchangelib, which makes the logins, and lxml come in when a server is asked for.
"""

from excise.stores.ews.store import STORE

__all__ = ["STORE"]
