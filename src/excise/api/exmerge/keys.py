"""The keys of ExMerge.ini that need no judgement: why they have no counterpart."""

from __future__ import annotations

_NAMES = "no counterpart: Excise keeps the names of folders as they are"
_PST = "no counterpart: each run makes a case of its own, with one PST a mailbox"
_TARGET = "no counterpart here: putting mail back is excise import EVIDENCE --into SOURCE"

#: Key in lower case -> what is said of it.
NO_COUNTERPART = {
    "datadirectoryname": "no counterpart in a profile: --case DIR says where the evidence goes",
    "logfilename": "no counterpart: each case has its own log, and search the operator's",
    "copyassociatedfolderdata": "no counterpart: folder-associated items (views, rules, forms) are not mail",
    "copyfolderpermissions": "no counterpart: permissions are not mail",
    "replacedataonlyifsourceitemismorerecent": _TARGET,
    "destservername": _TARGET,
    "domaincontrollerfordestserver": _TARGET,
    "destserverldap-port": _TARGET,
    "renamespecialfolders": _NAMES,
    "mapfoldernametolocalisedname": _NAMES,
    "mapfoldernametolocalizedname": _NAMES,
    "usethispstfileforallmailboxes": _PST,
    "removeintermediatepstfiles": _PST,
    "startingindex": "no counterpart: excise resume goes on where a run stopped",
}
#: Sections beside [EXMERGE] that are known.
SECTIONS = {"folder name mappings": _NAMES}
LOGGING = {0: "nothing", 1: "little", 2: "more", 3: "all"}
