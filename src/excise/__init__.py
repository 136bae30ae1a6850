"""Excise finds messages in many mailboxes, preserves them as evidence, and removes exactly those messages.

The layers and their order are those of docs/design.md; ``import excise`` loads nothing but this module.
"""

__version__ = "0.1.0"
