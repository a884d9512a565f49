"""The name of a file that a server proposes, made one that can do no harm."""

import os
import re
import unicodedata
from urllib.parse import unquote

MAX_BYTES = 255

# `; name=token`, `; name="quoted"` (RFC 6266).
_PARAMETER = re.compile(r""";\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))""")
_DIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_WINDOWS = frozenset('<>:"|?*')
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def proposed_name(disposition: str) -> str:
    """The name in a Content-Disposition, as it came; "" when there is none."""
    parameters: dict[str, str] = {}
    for name, quoted, token in _PARAMETER.findall(disposition):
        parameters.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or token.strip())
    charset, _, rest = parameters.get("filename*", "").partition("'")
    if charset.lower() == "utf-8":
        return unquote(rest.partition("'")[2], errors="replace")
    return parameters.get("filename", "")


def safe_name(name: str, otherwise: str) -> str:
    """One path component, not hidden, without control characters, short enough; `otherwise` when nothing is left."""
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(char for char in name if char not in _DIRECTIONAL and unicodedata.category(char) not in {"Cc", "Cs"})
    # A hidden file is one that a shell or a tool may run or read by itself.
    name = re.sub(r"\A[.\s]+", "", name).rstrip()
    if os.name == "nt":
        name = "".join("_" if char in _WINDOWS else char for char in name).rstrip(". ")
        name = f"_{name}" if _DEVICE.fullmatch(name) else name
    name = name.encode()[:MAX_BYTES].decode(errors="ignore")
    return name or otherwise
