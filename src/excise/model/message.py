"""Messages as the matcher sees them: the face of this layer's views."""

from __future__ import annotations

from excise.mime.addresses import Address
from excise.model.mapi_view import MapiView
from excise.model.mime import MimeView
from excise.model.view import AttachmentView, MessageView, Untestable, envelope

__all__ = ["Address", "AttachmentView", "MapiView", "MessageView", "MimeView", "Untestable", "envelope"]
