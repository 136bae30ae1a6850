"""Messages as the matcher sees them: the face of this layer's views."""

from __future__ import annotations

from excise.model.addresses import Address
from excise.model.mime import MimeView
from excise.model.view import AttachmentView, MessageView, Untestable, envelope

__all__ = ["Address", "AttachmentView", "MessageView", "MimeView", "Untestable", "envelope"]
