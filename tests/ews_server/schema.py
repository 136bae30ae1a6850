"""Microsoft's EWS schemas as one: whether a request or an answer is what the protocol allows.

The schemas come split by protocol document, and include one another (one of them itself), which no validator takes.
They are joined here: all types into one document, all messages into another.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

from lxml import etree

from .soap import SOAP, M, T

_XS = "http://www.w3.org/2001/XMLSchema"
_XML_LANG = f"""<xs:schema xmlns:xs="{_XS}" targetNamespace="http://www.w3.org/XML/1998/namespace">
<xs:attribute name="lang" type="xs:language"/></xs:schema>"""
# Each answer also carries this header, which the split schemas leave to the WSDL.
_VERSION_HEADER = f"{{{T}}}ServerVersionInfo"


class Schemas:
    """The joined schemas of a directory; `complaints` says what is wrong with an envelope. Safe between threads."""

    def __init__(self, directory: Path) -> None:
        self._schema = etree.XMLSchema(_joined(directory))
        self._lock = threading.Lock()

    def complaints(self, envelope: etree._Element) -> list[str]:
        """What in the SOAP header and body breaks the schemas; empty where nothing does. Faults are passed over."""
        found: list[str] = []
        for part in ("Header", "Body"):
            for child in envelope.iterfind(f"{{{SOAP}}}{part}/*"):
                if child.tag != f"{{{SOAP}}}Fault":
                    found += self._of(child)
        return found

    def _of(self, element: etree._Element) -> list[str]:
        with self._lock:
            if self._schema.validate(element):
                return []
            return [f"line {entry.line}: {entry.message}" for entry in self._schema.error_log]


@lru_cache(maxsize=4)
def load(directory: Path) -> Schemas:
    """The schemas of a directory, read once."""
    return Schemas(directory)


def _joined(directory: Path) -> etree._ElementTree:
    types = _gather(sorted(directory.glob("*-types.xsd")), T)
    messages = _gather([*sorted(directory.glob("*-message*.xsd"))], M)
    resolver = _Documents({"types.xsd": etree.tostring(types), "xml.xsd": _XML_LANG.encode()})
    types.insert(0, _import("http://www.w3.org/XML/1998/namespace", "xml.xsd"))
    resolver.documents["types.xsd"] = etree.tostring(types)
    messages.insert(0, _import(T, "types.xsd"))
    parser = etree.XMLParser()
    parser.resolvers.add(resolver)
    return etree.ElementTree(etree.fromstring(etree.tostring(messages), parser))


def _import(namespace: str, location: str) -> etree._Element:
    return etree.Element(f"{{{_XS}}}import", namespace=namespace, schemaLocation=location)


def _gather(files: list[Path], namespace: str) -> etree._Element:
    """All definitions of one namespace in one document, each once."""
    nsmap = {"xs": _XS, "t": T, "m": M, "tns": namespace}
    root = etree.Element(f"{{{_XS}}}schema", nsmap=nsmap, targetNamespace=namespace, elementFormDefault="qualified")
    seen: set[tuple[str, str]] = set()
    for file in files:
        for child in etree.parse(file).getroot():
            if not isinstance(child.tag, str) or child.tag in (f"{{{_XS}}}include", f"{{{_XS}}}import"):
                continue
            # The header's version is fixed to that of the schema, while clients ask for others of the enumeration.
            for attribute in child.iter(f"{{{_XS}}}attribute"):
                attribute.attrib.pop("fixed", None)
            key = (child.tag, child.get("name", ""))
            if key not in seen:
                seen.add(key)
                root.append(child)
    return root


class _Documents(etree.Resolver):
    def __init__(self, documents: dict[str, bytes]) -> None:
        self.documents = documents

    def resolve(self, url: str, public_id: str | None, context: object) -> object:
        del public_id
        name = url.rsplit("/", 1)[-1]
        return self.resolve_string(self.documents[name], context) if name in self.documents else None
