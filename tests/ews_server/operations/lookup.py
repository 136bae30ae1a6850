"""GetServerTimeZones: what clients look up before they work."""

from __future__ import annotations

from ..call import Call
from ..soap import Element, m, message, t


def get_server_time_zones(call: Call) -> Element:
    """UTC alone: everything here is in UTC."""
    period = t("Period", Bias="PT0S", Name="Standard", Id="std")
    transitions = t("TransitionsGroup", None, t("Transition", None, t("To", "std", Kind="Period")), Id="0")
    zone = t(
        "TimeZoneDefinition",
        None,
        t("Periods", None, period),
        t("TransitionsGroups", None, transitions),
        t("Transitions", None, t("Transition", None, t("To", "0", Kind="Group"))),
        Id="UTC",
        Name="(UTC) Coordinated Universal Time",
    )
    return call.response([message(call.operation, m("TimeZoneDefinitions", None, zone))])


OPERATIONS = {"GetServerTimeZones": get_server_time_zones}
