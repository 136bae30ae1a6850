"""A directory over LDAP (Active Directory with Exchange's schema): which mailboxes there are, and whose.

It knows nothing of stores. The library (ldap3) is loaded by ``client`` alone, when a directory is opened.
"""
