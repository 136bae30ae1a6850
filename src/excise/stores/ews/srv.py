"""SRV records of DNS (RFC 2782), for Autodiscover."""

from __future__ import annotations

from excise.stores.ews.autodiscover_wire import NoAnswer

_PATIENCE = 5.0


def service_at(name: str, nameserver: str = "") -> str:
    """The host, with its port where that is another than 443, that the best SRV record ``name`` gives; NoAnswer where
    there is none. ``nameserver``: HOST or HOST:PORT, asked in place of the system's."""
    import dns.exception
    import dns.resolver

    try:
        resolver = dns.resolver.Resolver(configure=not nameserver)
        if nameserver:
            host, _, port = nameserver.partition(":")
            resolver.nameservers, resolver.port = [host], int(port or 53)
        records = list(resolver.resolve(f"{name}.", "SRV", lifetime=_PATIENCE, search=False))
    except (dns.exception.DNSException, OSError, ValueError) as error:
        raise NoAnswer(f"{name}: no SRV record ({type(error).__name__})") from error
    if not records:
        raise NoAnswer(f"{name}: no SRV record")
    best = min(records, key=lambda record: (record.priority, -record.weight))
    host = best.target.to_text(omit_final_dot=True).lower()
    return host if best.port == 443 else f"{host}:{best.port}"
