"""MAPI items: properties, recipients, attachments; readers of .msg and TNEF; conversion from and to MIME."""
